//! How long each arm takes, whole models and attention alone.

mod render;

use bsbr_gpt2::PositionExtension;
use burn::tensor::DType;
use serde::Deserialize;

use crate::bench::Place;
use crate::corpus::random;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::lab::Lab;
use crate::record::{Measurement, Records};
use crate::reported::Claim;
use crate::rounds::{Contestant, Rounds, Run, attention_run, model_run, random_input};
use crate::section::Section;
use crate::spec::{ArmSpec, Spec, dense};
use crate::torch::{Baseline, Kind};

/// Version of the way to measure.
pub const VERSION: u32 = 1;

/// What is timed: embedding, all layers, and the last token's logits.
const MODEL: &str = "model";

/// What is timed: one layer's attention, from queries, keys and values to its output.
const ATTENTION: &str = "attention";

/// Work of a token: nothing is compared, and attention is a small part of a model.
fn effort(scope: &str) -> f64 {
    if scope == ATTENTION { 0.04 } else { 0.35 }
}

/// What `--quick` leaves alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens of a sequence.
    pub lengths: Vec<usize>,
    /// The shortest length that power laws are fitted to.
    pub fit_from: usize,
    /// Seconds of a run beyond which only [`Counts::slow_runs`] are timed.
    pub slow_seconds: f64,
    /// What else is timed: `torch`.
    pub baselines: Vec<String>,
    /// What stands in for positions that the model does not have.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// What `--quick` scales.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Timed runs of each arm at each length.
    pub runs: u64,
    /// The same where a run is slow.
    pub slow_runs: u64,
}

/// The experiment.
#[derive(Debug)]
pub struct Speed {
    spec: Spec,
    settings: Settings,
    counts: Counts,
    claims: Vec<Claim>,
}

impl Speed {
    /// The experiment of a specification.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] where a setting or count is wrong.
    pub fn new(spec: Spec, claims: Vec<Claim>) -> Result<Self, ReportError> {
        let settings: Settings = spec.method.settings()?;
        let counts: Counts = spec.method.counts()?;
        let wrong = |table, message: String| ReportError::Setting {
            experiment: spec.method.experiment.clone(),
            table,
            message,
        };
        if settings.lengths.is_empty() || settings.lengths.contains(&0) {
            let message = "`lengths` needs one, and all above 0";
            return Err(wrong("settings", message.to_owned()));
        }
        if let Some(name) = settings.baselines.iter().find(|name| *name != "torch") {
            let message = format!("`baselines`: there is no `{name}`, only `torch`");
            return Err(wrong("settings", message));
        }
        if counts.runs == 0 || counts.slow_runs == 0 {
            let message = "`runs` and `slow_runs` must be above 0";
            return Err(wrong("counts", message.to_owned()));
        }
        Ok(Self {
            settings,
            counts,
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

    /// The rows of tables: the arms, then what they are compared with.
    fn rows(&self) -> Vec<ArmSpec> {
        let kinds = match self.settings.baselines.is_empty() {
            true => [].as_slice(),
            false => Kind::ALL.as_slice(),
        };
        let others = kinds.iter().map(|kind| kind.row());
        self.arms().iter().cloned().chain(others).collect()
    }

    /// Everything that is to be timed on one sequence, or why it cannot be.
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
        for kind in Kind::ALL {
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
    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let rows = self.rows().len();
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

    fn render(&self, records: &Records) -> Result<Section, ReportError> {
        Ok(render::section(self, records))
    }
}
