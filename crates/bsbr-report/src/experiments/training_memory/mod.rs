//! Memory and time of a training step, each in its own process.

pub mod step;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::frame::Frame;
use crate::experiments::memory::worker::{Cell, Pass, Peak};
use crate::lab::Lab;
use crate::record::Measurement;
use crate::spec::{ArmSpec, Spec};

/// Version of the method.
pub const VERSION: u32 = 1;

/// The measured part: a step of the whole model.
const MODEL: &str = "model";

/// The start of a process and the loading of a model take as long as a forward pass over this
/// many tokens.
const START: usize = 500;

/// Work per token of a forward pass.
const EFFORT: f64 = 0.6;

/// Variants of the backward pass: the name in records, and whether blocks are recomputed.
const WAYS: [(&str, bool); 2] = [("kept", false), ("recomputed", true)];

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per window.
    pub lengths: Vec<usize>,
    /// The limit of a process's address space in MiB; unlimited if absent.
    #[serde(default)]
    pub limit_mib: Option<u64>,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Processes per arm, variant and length.
    pub processes: u64,
}

/// The experiment.
pub type TrainingMemory = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = TrainingMemory::new(spec)?;
    one.require_lengths("lengths", &one.settings.lengths)?;
    Ok(Box::new(one))
}

impl TrainingMemory {
    fn measure(
        &self,
        lab: &Lab,
        arm: &ArmSpec,
        length: usize,
        round: u64,
        recompute: bool,
    ) -> Result<Peak, String> {
        let worker = lab.worker()?;
        let cell = Cell {
            arm: arm.config.clone(),
            seed: self.spec.method.seed.wrapping_add(round),
            length,
            extension: lab.fitting(self.settings.extension),
            pass: Pass::Step { recompute },
        };
        worker.measure(&cell, self.settings.limit_mib)
    }
}

impl Experiment for TrainingMemory {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let processes = self.counts.processes as usize * self.arms().len() * WAYS.len();
        let unit = |&length: &usize| Unit {
            source: MODEL.to_owned(),
            length,
            samples: 0..self.counts.processes,
            arm: None,
            // A step takes as long as about three forward passes.
            work: EFFORT * ((3 * length + START) * processes) as f64,
        };
        Ok(self.settings.lengths.iter().map(unit).collect())
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let mut measurements = Vec::new();
        for round in unit.samples.clone() {
            for arm in self.arms() {
                let mut one = Measurement::new(&arm.id, &unit.source, unit.length, round);
                for (way, recompute) in WAYS {
                    let names = ["peak", "growth", "seconds"].map(|name| format!("{name}.{way}"));
                    match self.measure(lab, arm, unit.length, round, recompute) {
                        Ok(found) => {
                            let [peak, growth, seconds] = names;
                            one.set(peak, found.peak as f64);
                            one.set(growth, found.growth as f64);
                            one.set(seconds, found.seconds);
                        }
                        Err(reason) => names
                            .into_iter()
                            .for_each(|name| one.without(name, reason.clone())),
                    }
                }
                measurements.push(one);
            }
        }
        Ok(measurements)
    }
}
