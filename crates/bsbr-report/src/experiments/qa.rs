//! Whether each arm retrieves facts that were stated once, far back.

use std::time::Instant;

use crate::experiments::prelude::*;

/// Work per token between fact and question.
const EFFORT: f64 = 0.75;

/// Settings and counts.
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
    /// Questions per distance.
    pub questions: u64,
    /// Questions per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Qa = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    Ok(Box::new(Qa::read(spec, &["distances"], &["candidates"])?))
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
    fn units(&self, _lab: &Lab) -> Units {
        let (settings, models) = (&self.settings, self.arms().len());
        let of = |&distance: &usize| {
            let (questions, per_unit) = (settings.questions, settings.per_unit);
            weighed(
                batches(QUESTIONS, distance, questions, per_unit, models),
                EFFORT,
            )
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

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let models = ready_models(&self.spec, lab, self.settings.extension);
        unit.each(|index| {
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
            Ok(all)
        })
    }
}
