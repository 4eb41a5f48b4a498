//! Memory of reading a text before generation, including the cache, each in its own process.

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::bench::Place;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::common::dense_place;
use crate::experiments::frame::Frame;
use crate::experiments::memory::worker::{Cell, Pass};
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::Measurement;
use crate::spec::{ArmSpec, Spec};
use crate::torch::{Baseline, Kind};

/// Version of the method.
pub const VERSION: u32 = 1;

/// The measured part: the whole model, its cache and the next token's logits.
const MODEL: &str = "model";

/// The start of a process and the loading of a model take as long as some tokens.
const START: usize = 1000;

/// Work per token, in pieces and with a cache.
const EFFORT: f64 = 0.8;

/// The text in place of PyTorch's results if it was not requested.
const NO_TORCH: &str = "PyTorch was not measured; see --baseline";

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub lengths: Vec<usize>,
    /// Tokens read at once.
    pub piece: usize,
    /// The shortest length in fits of power laws.
    pub fit_from: usize,
    /// Baselines: `torch`.
    pub baselines: Vec<String>,
    /// The limit of our processes' address space in MiB; unlimited if absent.
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
    /// Processes per row and length.
    pub processes: u64,
}

/// The experiment.
pub type ReadingMemory = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = ReadingMemory::new(spec)?;
    one.require_lengths("lengths", &one.settings.lengths)?;
    one.require_torch(&one.settings.baselines)?;
    let message = "`piece` is 0, expected a number of tokens";
    one.require(one.settings.piece > 0, "settings", message)?;
    Ok(Box::new(one))
}

impl ReadingMemory {
    fn with_torch(&self) -> bool {
        !self.settings.baselines.is_empty()
    }

    /// Peak and growth of an arm's process.
    fn ours(
        &self,
        lab: &Lab,
        arm: &ArmSpec,
        length: usize,
        round: u64,
    ) -> Result<[f64; 2], String> {
        let cell = Cell {
            arm: arm.config.clone(),
            seed: self.spec.method.seed.wrapping_add(round),
            length,
            extension: lab.fitting(self.settings.extension),
            pass: Pass::Reading {
                piece: self.settings.piece,
            },
        };
        let found = lab.worker()?.measure(&cell, self.settings.limit_mib)?;
        Ok([found.peak as f64, found.growth as f64])
    }

    /// One round: each contestant once, compared with the dense arm and PyTorch.
    fn round(&self, unit: &Unit, lab: &Lab, round: u64) -> Vec<Measurement> {
        let filled = |id: &str, found: Result<[f64; 2], String>| {
            let mut one = Measurement::new(id, &unit.source, unit.length, round);
            match found {
                Ok([peak, growth]) => {
                    one.set("peak", peak);
                    one.set("growth", growth);
                    one
                }
                Err(reason) => one.without_values(reason),
            }
        };
        let mut all: Vec<Measurement> = self
            .arms()
            .iter()
            .map(|arm| filled(&arm.id, self.ours(lab, arm, unit.length, round)))
            .collect();
        let dense = dense_place(self.arms()).map(|place| all[place].clone());
        let torch = self
            .with_torch()
            .then(|| filled(Kind::Sdpa.id(), torch(lab, unit.length)));
        all.extend(torch.clone());
        for one in &mut all {
            beside(one, dense.as_ref(), "dense", "there is no dense row");
            beside(one, torch.as_ref(), "torch", NO_TORCH);
        }
        all
    }
}

/// Sets `peak.by_NAME` and `growth.by_NAME`, or says why they are missing.
fn beside(one: &mut Measurement, other: Option<&Measurement>, name: &str, without: &str) {
    for quantity in ["peak", "growth"] {
        let Some(own) = one.values.get(quantity).copied() else {
            continue;
        };
        let by = format!("{quantity}.by_{name}");
        match other.map(|other| other.values.get(quantity)) {
            Some(Some(other)) => one.set(by, own / other),
            Some(None) => one.without(by, format!("{name} has no {quantity}")),
            None => one.without(by, without),
        }
    }
}

/// Peak and growth of a process of PyTorch's.
fn torch(lab: &Lab, length: usize) -> Result<[f64; 2], String> {
    // The memory of a process is CPU memory.
    lab.worker()?;
    let place = Place::new(lab.device_name(), &lab.dtype());
    let baseline = Baseline::start(lab.python(), lab.dense().config(), &place)?;
    let growth = baseline.measure(Kind::Sdpa, "reading", length)?;
    Ok([baseline.measure(Kind::Sdpa, "peak", 0)?, growth])
}

impl Experiment for ReadingMemory {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let processes = self.counts.processes * self.subjects().len() as u64;
        let unit = |&length: &usize| Unit {
            source: MODEL.to_owned(),
            length,
            samples: 0..self.counts.processes,
            arm: None,
            work: EFFORT * (length + START) as f64 * processes as f64,
        };
        Ok(self.settings.lengths.iter().map(unit).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut all = Subject::arms(self.arms());
        all.extend(
            self.with_torch()
                .then(|| Kind::Sdpa.subject(self.arms().len())),
        );
        all
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let rounds = unit.samples.clone();
        Ok(rounds
            .flat_map(|round| self.round(unit, lab, round))
            .collect())
    }
}
