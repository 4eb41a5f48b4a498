//! How much memory a forward pass without a cache takes, each in a process of its own.

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

/// Version of the way to measure.
pub const VERSION: u32 = 1;

/// What is measured: embedding, all layers, and the last token's logits.
const MODEL: &str = "model";

/// Work of a token.
const EFFORT: f64 = 0.3;

/// What `--quick` leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens of a sequence.
    pub lengths: Vec<usize>,
    /// The shortest length that power laws are fitted to.
    pub fit_from: usize,
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
    /// Processes of each arm at each length.
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
            // Starting a process and loading the model takes as long as some tokens do.
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
