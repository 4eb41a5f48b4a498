//! Time of each arm, for whole models and attention alone.

use std::rc::Rc;

use bsbr_gpt2::PositionExtension;
use burn::tensor::DType;
use serde::Deserialize;

use crate::corpus::random;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::present::words::plural;
use crate::record::{Measurement, Records};
use crate::rounds::{Contestant, Rounds, attention_run, model_run, random_input};
use crate::spec::{Spec, dense};
use crate::torch::{Baseline, Kind};

/// Version of the method.
pub const VERSION: u32 = 1;

/// Timed: embedding, all layers, and the last token's logits.
const MODEL: &str = "model";

/// Timed: one layer's attention, from queries, keys and values to its output.
const ATTENTION: &str = "attention";

/// Work per token: nothing is compared, and attention is a small part of a model.
fn effort(scope: &str) -> f64 {
    if scope == ATTENTION { 0.04 } else { 0.35 }
}

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per sequence.
    pub lengths: Vec<usize>,
    /// The shortest length in fits of power laws.
    pub fit_from: usize,
    /// Runs longer than these seconds are timed only [`Counts::slow_runs`] times.
    pub slow_seconds: f64,
    /// Baselines: `torch`.
    pub baselines: Vec<String>,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Timed runs per arm and length.
    pub runs: u64,
    /// The same for slow runs.
    pub slow_runs: u64,
}

/// The experiment.
pub type Speed = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Speed::new(spec)?;
    one.require_lengths("lengths", &one.settings.lengths)?;
    one.require_torch(&one.settings.baselines)?;
    let sound = one.counts.runs > 0 && one.counts.slow_runs > 0;
    one.require(sound, "counts", "`runs` and `slow_runs` must be above 0")?;
    Ok(Box::new(one))
}

impl Speed {
    fn torch(&self) -> &'static [Kind] {
        Kind::of(&self.settings.baselines, &Kind::ALL)
    }

    /// All contestants on one sequence, or why they are missing.
    fn contestants<'a>(&self, unit: &Unit, lab: &'a Lab) -> Vec<Contestant<'a>> {
        let (seed, length) = (self.seed(), unit.length);
        let input =
            (unit.source == ATTENTION).then(|| random_input(lab.dense(), length, DType::F32));
        let ids = random(seed, 0, lab.dense().config().vocab_size, length);
        let arms = self.arms().iter().map(|arm| {
            let model = lab.model_for_any_length(arm, seed, self.settings.extension);
            let run = model.and_then(|model| match &input {
                Some(input) => Ok(attention_run(&model, input.clone())),
                None => model_run(model, &ids),
            });
            Contestant::timed(&arm.id, length, run)
        });
        let mut all: Vec<Contestant<'a>> = arms.collect();
        if let [_, ..] = self.torch() {
            let baseline = Baseline::of(lab).map(Rc::new);
            all.extend(self.torch().iter().map(|&kind| {
                let run = baseline.clone();
                let run = run.map(|baseline| baseline.timing(kind, &unit.source, length));
                Contestant::timed(kind.id(), length, run)
            }));
        }
        all
    }
}

impl Experiment for Speed {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let rows = self.subjects().len();
        let unit = |source: &str, length: usize| Unit {
            source: source.to_owned(),
            length,
            samples: 0..self.counts.runs,
            arm: None,
            work: effort(source) * (length * rows) as f64 * (self.counts.runs + 1) as f64,
        };
        let lengths = &self.settings.lengths;
        let of = |source| lengths.iter().map(move |&length| unit(source, length));
        Ok([MODEL, ATTENTION].into_iter().flat_map(of).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        Kind::subjects(self.arms(), self.torch())
    }

    fn word(&self, name: &str, _: &Records) -> Option<String> {
        let slow = self.counts.slow_runs.min(self.counts.runs);
        (name == "slow runs").then(|| plural(slow, "run"))
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let rounds = Rounds {
            slow_runs: self.counts.slow_runs,
            slow_seconds: self.settings.slow_seconds,
            ..Rounds::timed(self.counts.runs)
        };
        let dense = dense(self.arms()).map(|arm| arm.id.as_str());
        let contestants = self.contestants(unit, lab);
        Ok(rounds.speedups(&contestants, &unit.source, dense))
    }
}
