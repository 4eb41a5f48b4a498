//! How much memory a forward pass without a cache takes, each in a process of its own.

pub(super) mod render;
pub mod worker;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::common::dense_place;
use crate::experiments::memory::worker::{Cell, Pass};
use crate::lab::Lab;
use crate::record::{Measurement, Records};
use crate::reported::Claim;
use crate::section::Section;
use crate::spec::{ArmSpec, Spec};

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
#[derive(Debug)]
pub struct Memory {
    spec: Spec,
    settings: Settings,
    counts: Counts,
    claims: Vec<Claim>,
}

impl Memory {
    /// The experiment of a specification.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] where a setting or count is wrong.
    pub fn new(spec: Spec, claims: Vec<Claim>) -> Result<Self, ReportError> {
        let settings: Settings = spec.method.settings()?;
        if settings.lengths.is_empty() || settings.lengths.contains(&0) {
            return Err(ReportError::Setting {
                experiment: spec.method.experiment.clone(),
                table: "settings",
                message: "`lengths` needs one, and all above 0".to_owned(),
            });
        }
        Ok(Self {
            settings,
            counts: spec.method.counts()?,
            spec,
            claims,
        })
    }

    pub(super) fn boxed(
        spec: Spec,
        claims: Vec<Claim>,
    ) -> Result<Box<dyn Experiment>, ReportError> {
        Ok(Box::new(Self::new(spec, claims)?))
    }

    fn arms(&self) -> &[ArmSpec] {
        &self.spec.method.arms
    }
}

impl Experiment for Memory {
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

    fn render(&self, records: &Records) -> Result<Section, ReportError> {
        Ok(render::section(self, records))
    }
}
