//! One setting of an arm at several values: cost and quality.

mod lines;

use std::time::Instant;

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_train::questions::Question;
use serde::Deserialize;

use crate::compare::{self, States};
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::beside::set_closeness;
use crate::experiments::common::{dense_place, in_turns};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::{Measurement, Records};
use crate::section::Block;
use crate::spec::Spec;

/// Version of the method.
pub const VERSION: u32 = 1;

/// The source of questions, whatever the other texts.
const QUESTIONS: &str = "storybook questions";

/// Work per token of a text.
const TEXT_EFFORT: f64 = 0.7;

/// Work per token between fact and question.
const QUESTION_EFFORT: f64 = 0.35;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// The minimum number of words between fact and question.
    pub distance: usize,
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
    /// Total number of texts, from the domains in turn.
    pub texts: u64,
    /// Questions.
    pub questions: u64,
    /// Texts or questions per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Sweep = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Sweep::new(spec)?;
    let Settings {
        length,
        distance,
        candidates,
        ..
    } = one.settings;
    one.require(
        length > 0 && candidates >= 2 && length != distance,
        "settings",
        "`length` must be above 0 and other than `distance`, and `candidates` at least 2",
    )?;
    Ok(Box::new(one))
}

impl Sweep {
    fn models(&self, lab: &Lab) -> Vec<Result<Gpt2, String>> {
        let seed = self.spec.method.seed;
        self.arms()
            .iter()
            .map(|arm| lab.model_for_any_length(arm, seed, self.settings.extension))
            .collect()
    }

    /// Every arm on one text, in an order that rotates with the texts.
    fn text(
        &self,
        models: &[Result<Gpt2, String>],
        ids: &[u32],
        index: u64,
        lab: &Lab,
        mut measurements: Vec<Measurement>,
    ) -> Result<Vec<Measurement>, ReportError> {
        let dense = lab
            .dense()
            .clone()
            .with_position_extension(lab.fitting(self.settings.extension));
        let dense = dense.unwrap_or_else(|_| lab.dense().clone());
        let reference = States::last_of(&dense, ids)?;
        let head_dim = lab.dense().config().head_dim();
        let mut seconds = vec![None; models.len()];
        let (mut runs, mut places) = (Vec::new(), Vec::new());
        for turn in 0..models.len() {
            let place = (turn + index as usize) % models.len();
            let one = &mut measurements[place];
            match &models[place] {
                Ok(model) => {
                    let start = Instant::now();
                    let states = States::last_of(model, ids)?;
                    let taken = start.elapsed().as_secs_f64();
                    one.set("seconds", taken);
                    seconds[place] = Some(taken);
                    runs.push((model.clone(), states));
                    places.push(place);
                }
                Err(reason) => *one = std::mem::take(one).without_values(reason.clone()),
            }
            let config = &self.arms()[place].config;
            let cache = config.cache_numbers(ids.len(), head_dim);
            measurements[place].set("cache", cache / (ids.len() * 2 * head_dim) as f64);
        }
        let base = dense_place(self.arms()).and_then(|place| seconds[place]);
        let scores = compare::logits(&dense, &reference, &runs)?;
        let width = dense.config().n_embd;
        for ((&place, scores), (_, states)) in places.iter().zip(scores).zip(&runs) {
            let one = &mut measurements[place];
            if let (Some(base), Some(own)) = (base, seconds[place]) {
                one.set("speedup", base / own);
            }
            let found = scores.and_then(|scores| {
                let cosine = compare::hidden(reference.last(), states.last(), width)?.cosine;
                Ok((scores, cosine))
            });
            match found {
                Ok((scores, cosine)) => set_closeness(one, &scores, &cosine),
                Err(error) => *one = std::mem::take(one).without_values(error.to_string()),
            }
        }
        Ok(measurements)
    }

    /// Every arm on one question.
    fn question(
        models: &[Result<Gpt2, String>],
        question: &Question,
        mut measurements: Vec<Measurement>,
    ) -> Vec<Measurement> {
        for (one, model) in measurements.iter_mut().zip(models) {
            let answer = match model {
                Ok(model) => question.answer(model).map_err(|error| error.to_string()),
                Err(reason) => Err(reason.clone()),
            };
            match answer {
                Ok(answer) => {
                    one.set("among", f64::from(u8::from(answer.among)));
                    one.set("exact", f64::from(u8::from(answer.exact)));
                }
                Err(reason) => *one = std::mem::take(one).without_values(reason),
            }
        }
        measurements
    }
}

impl Experiment for Sweep {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (counts, settings) = (&self.counts, &self.settings);
        let models = self.arms().len();
        let (length, per_unit) = (settings.length, counts.per_unit);
        let texts = in_turns(lab, length, counts.texts, per_unit, models)?;
        let mut units: Vec<Unit> = weighed(texts, TEXT_EFFORT).collect();
        let (distance, questions) = (settings.distance, counts.questions);
        let questions = batches(QUESTIONS, distance, questions, per_unit, models);
        units.extend(weighed(questions, QUESTION_EFFORT));
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        lines::subjects(self.arms())
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(vec![match name {
            "relative" => Block::Table(lines::relative(self, records)),
            _ => Block::Figure(lines::figure(self, records)),
        }])
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.spec.method.seed;
        let models = self.models(lab);
        let book = Storybook::new(seed);
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let empty = self.empty(unit, index);
            if unit.source == QUESTIONS {
                let qa = QaSpec {
                    min_distance_words: unit.length,
                    num_candidates: self.settings.candidates,
                    ..QaSpec::default()
                };
                let item = book.qa(Split::Test, index, &qa);
                let question = Question::new(lab.corpus().tokenizer(), &item)?;
                measurements.extend(Self::question(&models, &question, empty));
            } else {
                let ids = lab.corpus().text(seed, &unit.source, index, unit.length)?;
                measurements.extend(self.text(&models, &ids, index, lab, empty)?);
            }
        }
        Ok(measurements)
    }
}
