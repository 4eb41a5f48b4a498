//! Measurements of models that differ in a setting, on one text or question.

use std::time::Instant;

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_train::questions::Question;

use crate::compare::{self, States};
use crate::error::ReportError;
use crate::experiments::beside::set_closeness;
use crate::lab::Lab;
use crate::record::Measurement;

/// Models that are compared.
pub(in crate::experiments) struct Trial<'a> {
    pub lab: &'a Lab,
    /// The embeddings of positions beyond the dense model's.
    pub extension: PositionExtension,
    /// The model of each row, or why it is missing.
    pub models: &'a [Result<Gpt2, String>],
    /// The index of the dense model.
    pub dense: Option<usize>,
}

impl Trial<'_> {
    /// The dense model, for texts longer than its trained length.
    pub fn reference(&self) -> Gpt2 {
        let dense = self.lab.dense().clone();
        let extended = dense.with_position_extension(self.lab.fitting(self.extension));
        extended.unwrap_or_else(|_| self.lab.dense().clone())
    }

    /// Every model on one text, in an order that rotates with the texts: fills one measurement
    /// each.
    pub fn text(
        &self,
        ids: &[u32],
        index: u64,
        mut measurements: Vec<Measurement>,
    ) -> Result<Vec<Measurement>, ReportError> {
        let dense = self.reference();
        let reference = States::last_of(&dense, ids)?;
        let mut seconds = vec![None; self.models.len()];
        let (mut runs, mut places) = (Vec::new(), Vec::new());
        for turn in 0..self.models.len() {
            let place = (turn + index as usize) % self.models.len();
            let one = &mut measurements[place];
            match &self.models[place] {
                Ok(model) => {
                    let start = Instant::now();
                    let states = States::last_of(model, ids)?;
                    let taken = start.elapsed().as_secs_f64();
                    one.set("seconds", taken);
                    one.set("cache", cache_share(model, ids.len()));
                    seconds[place] = Some(taken);
                    runs.push((model.clone(), states));
                    places.push(place);
                }
                Err(reason) => *one = std::mem::take(one).without_values(reason.clone()),
            }
        }
        let base = self.dense.and_then(|place| seconds[place]);
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

    /// Every model on a storybook question, at least `distance` words after its fact.
    pub fn question(
        &self,
        seed: u64,
        (distance, candidates): (usize, usize),
        index: u64,
        mut measurements: Vec<Measurement>,
    ) -> Result<Vec<Measurement>, ReportError> {
        let qa = QaSpec {
            min_distance_words: distance,
            num_candidates: candidates,
            ..QaSpec::default()
        };
        let item = Storybook::new(seed).qa(Split::Test, index, &qa);
        let question = Question::new(self.lab.corpus().tokenizer(), &item)?;
        for (one, model) in measurements.iter_mut().zip(self.models) {
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
        Ok(measurements)
    }
}

/// The size of a model's cache at this length relative to dense, by definition.
fn cache_share(model: &Gpt2, tokens: usize) -> f64 {
    let config = model.config();
    let head_dim = config.head_dim();
    let numbers = |layer| config.arm(layer).cache_numbers(tokens, head_dim);
    let kept: f64 = (0..config.n_layer).map(numbers).sum();
    kept / (config.n_layer * tokens * 2 * head_dim) as f64
}
