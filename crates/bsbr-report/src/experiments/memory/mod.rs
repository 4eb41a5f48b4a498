//! Memory of a forward pass without a cache, each in its own process.

pub mod worker;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::common::dense_place;
use crate::experiments::frame::Frame;
use crate::experiments::memory::worker::{Cell, Pass};
use crate::lab::Lab;
use crate::record::Measurement;
use crate::spec::Spec;

/// Version of the method.
pub const VERSION: u32 = 1;

/// The measured part: embedding, all layers, and the last token's logits.
const MODEL: &str = "model";

/// Work per token.
const EFFORT: f64 = 0.3;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per sequence.
    pub lengths: Vec<usize>,
    /// The shortest length in fits of power laws.
    pub fit_from: usize,
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
    /// Processes per arm and length.
    pub processes: u64,
}

/// The experiment.
pub type Memory = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Memory::new(spec)?;
    one.require_lengths("lengths", &one.settings.lengths)?;
    Ok(Box::new(one))
}

impl Experiment for Memory {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let processes = self.counts.processes * self.arms().len() as u64;
        let unit = |&length: &usize| Unit {
            source: MODEL.to_owned(),
            length,
            samples: 0..self.counts.processes,
            arm: None,
            // The start of a process and the loading of the model take as long as some
            // tokens.
            work: EFFORT * (length + 1000) as f64 * processes as f64,
        };
        Ok(self.settings.lengths.iter().map(unit).collect())
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let dense = dense_place(self.arms());
        let mut measurements = Vec::new();
        for round in unit.samples.clone() {
            let first = measurements.len();
            for arm in self.arms() {
                let mut one = Measurement::new(&arm.id, &unit.source, unit.length, round);
                let cell = Cell {
                    arm: arm.config.clone(),
                    seed: self.spec.method.seed.wrapping_add(round),
                    length: unit.length,
                    extension: lab.fitting(self.settings.extension),
                    pass: Pass::Forward,
                };
                let worker = lab.worker();
                match worker.and_then(|worker| worker.measure(&cell, self.settings.limit_mib)) {
                    Ok(peak) => {
                        one.set("peak", peak.peak as f64);
                        one.set("growth", peak.growth as f64);
                    }
                    Err(reason) => one = one.without_values(reason),
                }
                measurements.push(one);
            }
            let dense = dense.and_then(|place| {
                let one: &Measurement = measurements.get(first + place)?;
                one.values.get("growth").copied()
            });
            for one in &mut measurements[first..] {
                if let (Some(dense), Some(own)) = (dense, one.values.get("growth").copied()) {
                    one.set("share", own / dense);
                }
            }
        }
        Ok(measurements)
    }
}
