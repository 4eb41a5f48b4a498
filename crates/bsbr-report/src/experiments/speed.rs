//! Time of each arm, for whole models and attention alone.

use std::rc::Rc;

use burn::tensor::DType;

use crate::engines::Peer;
use crate::experiments::prelude::*;
use crate::rounds::{attention_run, random_input};

/// Timed: embedding, all layers, and the last token's logits.
const MODEL: &str = "model";

/// Timed: one layer's attention, from queries, keys and values to its output.
const ATTENTION: &str = "attention";

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per sequence.
    pub lengths: Vec<usize>,
    /// The shortest length in fits of power laws.
    pub fit_from: usize,
    /// Runs longer than these seconds are timed only [`Self::slow_runs`] times.
    pub slow_seconds: f64,
    /// Baselines: `torch`.
    pub baselines: Vec<String>,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
    /// Timed runs per arm and length.
    pub runs: u64,
    /// The same for slow runs.
    pub slow_runs: u64,
}

/// The experiment.
pub type Speed = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Speed::read(spec, &["lengths", "runs", "slow_runs"], &[])?;
    one.require_torch(&one.settings.baselines)?;
    Ok(Box::new(one))
}

impl Speed {
    fn torch(&self) -> &'static [Kind] {
        Kind::of(&self.settings.baselines, &Kind::ALL)
    }

    /// All cases on one sequence, or why they are missing.
    fn cases<'a>(&self, unit: &Unit, lab: &'a Lab) -> Vec<Case<'a>> {
        let (seed, length) = (self.seed(), unit.length);
        let of_attention = unit.source == ATTENTION;
        let input = of_attention.then(|| random_input(lab.dense(), length, DType::F32));
        let ids = random(seed, 0, lab.dense().config().vocab_size, length);
        let arms = self.arms().iter().map(|arm| {
            let model = lab.model_for_any_length(arm, seed, self.settings.extension);
            let run = model.and_then(|model| match &input {
                Some(input) => Ok(attention_run(&model, input.clone())),
                None => model_run(model, &ids),
            });
            Case::timed(&arm.id, length, run)
        });
        let mut all: Vec<Case<'a>> = arms.collect();
        if let [_, ..] = self.torch() {
            let process = Engine::torch(lab).map(Rc::new);
            all.extend(self.torch().iter().map(|&kind| {
                let peer = Peer::torch(kind.id(), kind, process.clone());
                Case::timed(kind.id(), length, Ok(peer.timing(&unit.source, length)))
            }));
        }
        all
    }
}

impl Experiment for Speed {
    fn units(&self, _lab: &Lab) -> Units {
        let (rows, runs) = (self.subjects().len(), self.settings.runs);
        let mut units = Vec::new();
        // Nothing is compared, and attention is a small part of a model.
        for (source, effort) in [(MODEL, 0.35), (ATTENTION, 0.04)] {
            units.extend(self.settings.lengths.iter().map(|&length| {
                let work = effort * (length * rows) as f64 * (runs + 1) as f64;
                Unit::new(source, length, runs, work)
            }));
        }
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        Kind::subjects(self.arms(), self.torch())
    }

    fn word(&self, name: &str, _: &Records) -> Option<String> {
        let slow = self.settings.slow_runs.min(self.settings.runs);
        (name == "slow runs").then(|| plural(slow, "run"))
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let rounds = Rounds {
            slow_runs: self.settings.slow_runs,
            slow_seconds: self.settings.slow_seconds,
            ..Rounds::timed(self.settings.runs)
        };
        Ok(rounds.speedups(&self.cases(unit, lab), &unit.source, self.dense()))
    }
}
