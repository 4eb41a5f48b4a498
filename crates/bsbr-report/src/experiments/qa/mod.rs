//! Whether each arm retrieves facts that were stated once, far back.

use std::time::Instant;

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_train::questions::{Answer, Question};
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::common::{beside_dense, ready_models};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::record::{Measurement, Pool, Records};
use crate::spec::{ArmSpec, Spec};

/// Version of the method.
pub const VERSION: u32 = 2;

/// The source of questions, whatever the other texts.
const SOURCE: &str = "storybook questions";

/// Work per token between fact and question.
const EFFORT: f64 = 0.75;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The minimum number of words between fact and question.
    pub distances: Vec<usize>,
    /// Number of candidates, including the correct one.
    pub candidates: usize,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Questions per distance.
    pub questions: u64,
    /// Questions per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Qa = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Qa::new(spec)?;
    let sound = !one.settings.distances.is_empty() && one.settings.candidates >= 2;
    let message = "`distances` needs at least one value, and `candidates` must be at least 2";
    one.require(sound, "settings", message)?;
    Ok(Box::new(one))
}

impl Qa {
    /// Every arm on one question.
    fn ask(
        &self,
        models: &[Result<Gpt2, String>],
        question: &Question,
        new: impl Fn(&ArmSpec) -> Measurement,
    ) -> Vec<Measurement> {
        let mut measurements: Vec<Measurement> = Vec::with_capacity(models.len());
        for (arm, model) in self.arms().iter().zip(models) {
            let mut one = new(arm);
            one.set("distance", question.distance as f64);
            one.set("tokens", question.ids.len() as f64);
            let start = Instant::now();
            let answer = match model {
                Ok(model) => question.answer(model).map_err(|error| error.to_string()),
                Err(reason) => Err(reason.clone()),
            };
            let seconds = start.elapsed().as_secs_f64();
            match answer {
                Ok(Answer {
                    among,
                    exact,
                    share,
                }) => {
                    one.set("among", f64::from(u8::from(among)));
                    one.set("exact", f64::from(u8::from(exact)));
                    one.set("share", share);
                    one.set("seconds", seconds);
                }
                Err(reason) => one = one.without_values(reason),
            }
            measurements.push(one);
        }
        beside_dense(&mut measurements, self.arms(), &["among", "exact", "share"]);
        measurements
    }
}

impl Qa {
    /// The distances of facts, and the lengths of documents.
    fn reached(&self, records: &Records) -> String {
        let first = self.arms().first();
        let words = self.settings.distances.iter().filter_map(|&length| {
            let found = |quantity| {
                let found = records.estimate(&first?.id, Pool::Source(SOURCE), length, quantity);
                found.ok().map(|found| found.mean)
            };
            let (distance, tokens) = (found("distance")?, found("tokens")?);
            Some(format!(
                "≥ {length}: {distance:.0} tokens on average, in documents of {tokens:.0}"
            ))
        });
        let words: Vec<String> = words.collect();
        match words.is_empty() {
            true => "nothing measured yet".to_owned(),
            false => words.join("; "),
        }
    }
}

impl Experiment for Qa {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (counts, models) = (&self.counts, self.arms().len());
        let of = |&distance: &usize| {
            let own = batches(SOURCE, distance, counts.questions, counts.per_unit, models);
            weighed(own, EFFORT)
        };
        Ok(self.settings.distances.iter().flat_map(of).collect())
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        match name {
            "chance" => Some(format!("{:.1} %", 100.0 / self.settings.candidates as f64)),
            "reached" => Some(self.reached(records)),
            _ => None,
        }
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let book = Storybook::new(self.spec.method.seed);
        let qa = QaSpec {
            min_distance_words: unit.length,
            num_candidates: self.settings.candidates,
            ..QaSpec::default()
        };
        let models = ready_models(&self.spec, lab, self.settings.extension);
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let item = book.qa(Split::Test, index, &qa);
            let question = Question::new(lab.corpus().tokenizer(), &item)?;
            let new = |arm: &ArmSpec| Measurement::new(&arm.id, SOURCE, unit.length, index);
            measurements.extend(self.ask(&models, &question, new));
        }
        Ok(measurements)
    }
}
