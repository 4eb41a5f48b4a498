//! Whether each arm retrieves facts that were stated once, far back.

use std::time::Instant;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::common::{beside_dense, ready_models};
use crate::experiments::frame::Frame;
use crate::experiments::measure::{QUESTIONS, answer, question};
use crate::lab::Lab;
use crate::record::{Measurement, Pool, Records};
use crate::spec::Spec;

/// Version of the method.
pub const VERSION: u32 = 2;

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
    /// The distances of facts, and the lengths of documents.
    fn reached(&self, records: &Records) -> String {
        let first = self.arms().first();
        let words = self.settings.distances.iter().filter_map(|&length| {
            let found = |quantity| {
                let found = records.estimate(&first?.id, Pool::Source(QUESTIONS), length, quantity);
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
            let own = batches(
                QUESTIONS,
                distance,
                counts.questions,
                counts.per_unit,
                models,
            );
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
        let models = ready_models(&self.spec, lab, self.settings.extension);
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let asked = [unit.length, self.settings.candidates];
            let question = question(lab, self.seed(), asked, index)?;
            let mut all = self.empty(unit, index);
            for (one, model) in all.iter_mut().zip(&models) {
                one.set("distance", question.distance as f64);
                one.set("tokens", question.ids.len() as f64);
                let start = Instant::now();
                let answer = answer(one, model, &question);
                let seconds = start.elapsed().as_secs_f64();
                if let Some(answer) = answer {
                    one.set("share", answer.share);
                    one.set("seconds", seconds);
                }
            }
            beside_dense(&mut all, self.arms(), &["among", "exact", "share"]);
            measurements.append(&mut all);
        }
        Ok(measurements)
    }
}
