//! Measurements of models that differ in a setting, on one text or question.

use bsbr_gpt2::{Gpt2, PositionExtension};

use crate::compare;
use crate::error::ReportError;
use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::common::relative;
use crate::experiments::measure::{QUESTIONS, answer, question};
use crate::lab::Lab;
use crate::record::Measurement;

/// Models that are compared.
pub(in crate::experiments) struct Trial<'a> {
    pub lab: &'a Lab,
    /// The embeddings of positions beyond the dense model's.
    pub extension: PositionExtension,
    /// The model of each row, or why it is missing.
    pub models: &'a [Result<Gpt2, String>],
    /// The id of the dense model; empty if there is none.
    pub dense: &'a str,
}

impl Trial<'_> {
    /// The dense model, for texts longer than its trained length.
    pub fn reference(&self) -> Gpt2 {
        let dense = self.lab.dense().clone();
        let extended = dense.with_position_extension(self.lab.fitting(self.extension));
        extended.unwrap_or_else(|_| self.lab.dense().clone())
    }

    /// Every model on a text, in an order that rotates with the texts, or on a question: fills one
    /// measurement each.
    pub fn sample(
        &self,
        seed: u64,
        candidates: usize,
        measurements: &mut [Measurement],
    ) -> Result<(), ReportError> {
        let Some(first) = measurements.first() else {
            return Ok(());
        };
        let (index, length) = (first.index, first.length);
        if first.source == QUESTIONS {
            let question = question(self.lab, seed, [length, candidates], index)?;
            for (one, model) in measurements.iter_mut().zip(self.models) {
                answer(one, model, &question);
            }
            return Ok(());
        }
        let ids = self.lab.corpus().text(seed, &first.source, index, length)?;
        let dense = self.reference();
        Reference::read(&dense, &ids)?
            .in_turn(index)
            .compare_passes(
                self.models,
                measurements,
                |_, dense, arm| compare::score(dense, arm),
                |one, scores, cosine, pass| {
                    one.set("seconds", pass.seconds);
                    one.set("cache", cache_share(pass.model, ids.len()));
                    set_closeness(one, scores, cosine);
                },
            )?;
        relative(
            measurements,
            self.dense,
            ["seconds", "speedup"],
            |own, dense| dense / own,
        );
        Ok(())
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
