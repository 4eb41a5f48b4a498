//! How much memory and time a step of training takes, each in a process of its own.

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

/// Version of the way to measure.
pub const VERSION: u32 = 1;

/// What is measured: a step of the whole model.
const MODEL: &str = "model";

/// Starting a process and loading a model takes as long as a forward pass over so many tokens.
const START: usize = 500;

/// Work of a token of a forward pass.
const EFFORT: f64 = 0.6;

/// Ways to a backward pass: the name in records, and whether blocks are computed a second time.
const WAYS: [(&str, bool); 2] = [("kept", false), ("recomputed", true)];

/// What `--quick` leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens of a window.
    pub lengths: Vec<usize>,
    /// MiB of address space that a process may have; unlimited where it is absent.
    #[serde(default)]
    pub limit_mib: Option<u64>,
    /// What stands in for positions that the model does not have.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// What `--quick` scales.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Processes of each arm, way and length.
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
