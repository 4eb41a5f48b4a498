//! Time of each arm, for whole models and attention alone.

use bsbr_gpt2::PositionExtension;
use burn::tensor::DType;
use serde::Deserialize;

use crate::bench::Place;
use crate::corpus::random;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::present::words::plural;
use crate::record::{Measurement, Records};
use crate::rounds::{Contestant, Rounds, Run, attention_run, model_run, random_input};
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
    fn baselines(&self) -> &'static [Kind] {
        match self.settings.baselines.is_empty() {
            true => &[],
            false => &Kind::ALL,
        }
    }

    /// All contestants on one sequence, or why they are missing.
    fn contestants<'a>(&self, unit: &Unit, lab: &'a Lab) -> Vec<Contestant<'a>> {
        let seed = self.spec.method.seed;
        let mut all: Vec<Contestant<'a>> = Vec::new();
        let input =
            (unit.source == ATTENTION).then(|| random_input(lab.dense(), unit.length, DType::F32));
        let ids = random(seed, 0, lab.dense().config().vocab_size, unit.length);
        for arm in self.arms() {
            let model = lab.model_for_any_length(arm, seed, self.settings.extension);
            let run: Result<Run<'a>, String> = model.and_then(|model| match &input {
                Some(input) => Ok(attention_run(&model, input.clone())),
                None => model_run(model, &ids),
            });
            all.push(Contestant {
                id: arm.id.clone(),
                run,
            });
        }
        if self.settings.baselines.is_empty() {
            return all;
        }
        let place = Place::new(lab.device_name(), &lab.dtype());
        let baseline =
            Baseline::start(lab.python(), lab.dense().config(), &place).map(std::rc::Rc::new);
        for &kind in self.baselines() {
            let (scope, length) = (unit.source.clone(), unit.length);
            let run = baseline.clone().map(|baseline| -> Run<'a> {
                Box::new(move || baseline.measure(kind, &scope, length))
            });
            all.push(Contestant {
                id: kind.id().to_owned(),
                run,
            });
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
        Ok([MODEL, ATTENTION]
            .iter()
            .flat_map(|source| {
                self.settings
                    .lengths
                    .iter()
                    .map(|&length| unit(source, length))
            })
            .collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut all = Subject::arms(self.arms());
        for kind in self.baselines() {
            all.push(kind.subject(all.len()));
        }
        all
    }

    fn word(&self, name: &str, _: &Records) -> Option<String> {
        let slow = self.counts.slow_runs.min(self.counts.runs);
        (name == "slow runs").then(|| plural(slow, "run"))
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let contestants = self.contestants(unit, lab);
        let rounds = Rounds {
            runs: self.counts.runs,
            slow_runs: self.counts.slow_runs,
            slow_seconds: self.settings.slow_seconds,
        };
        let dense = dense(self.arms()).map(|arm| arm.id.as_str());
        Ok(rounds.run(&contestants, dense, |id, round| {
            Measurement::new(id, &unit.source, unit.length, round)
        }))
    }
}
