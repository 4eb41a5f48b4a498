//! Comparison of models with the dense one, on one text.

use bsbr_gpt2::Gpt2;
use bsbr_metrics::MetricError;

use crate::compare::{self, LogitScore, States};
use crate::error::ReportError;
use crate::record::Measurement;

/// The dense model's states on a text, or why it cannot read it.
pub(super) struct Reference<'a> {
    model: &'a Gpt2,
    ids: &'a [u32],
    states: Result<States, String>,
}

impl<'a> Reference<'a> {
    /// Reads the text.
    pub(super) fn read(model: &'a Gpt2, ids: &'a [u32]) -> Result<Self, ReportError> {
        let states = match States::last_of(model, ids) {
            Ok(states) => Ok(states),
            Err(ReportError::Input(reason)) => Err(reason.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Self { model, ids, states })
    }

    /// Fills the measurement of each model with the results of `fill` from the scores of all
    /// positions and the cosines of the final hidden states, or with the reason why they are
    /// missing.
    pub(super) fn compare<T: Send>(
        &self,
        models: &[Result<Gpt2, String>],
        measurements: &mut [Measurement],
        score: impl Fn(usize, &[f32], &[f32]) -> Result<T, MetricError> + Sync,
        fill: impl Fn(&mut Measurement, &[T], &[f64]),
    ) -> Result<(), ReportError> {
        let missing = |one: &mut Measurement, reason: String| {
            *one = std::mem::take(one).without_values(reason);
        };
        let dense = match &self.states {
            Ok(states) => states,
            Err(reason) => {
                for one in measurements {
                    missing(one, reason.clone());
                }
                return Ok(());
            }
        };
        let (mut runs, mut places) = (Vec::new(), Vec::new());
        for (place, model) in models.iter().enumerate() {
            match model {
                Ok(model) => {
                    runs.push((model.clone(), States::last_of(model, self.ids)?));
                    places.push(place);
                }
                Err(reason) => missing(&mut measurements[place], reason.clone()),
            }
        }
        let scores = compare::positions(self.model, dense, &runs, score)?;
        let width = self.model.config().n_embd;
        for ((place, scores), (_, own)) in places.into_iter().zip(scores).zip(&runs) {
            let one = &mut measurements[place];
            let found = scores.and_then(|scores| {
                Ok((
                    scores,
                    compare::hidden(dense.last(), own.last(), width)?.cosine,
                ))
            });
            match found {
                Ok((scores, cosine)) => fill(one, &scores, &cosine),
                Err(error) => missing(one, error.to_string()),
            }
        }
        Ok(())
    }
}

/// Sets `kl`, `top1` and `cosine`: means over all positions.
pub(super) fn set_closeness(one: &mut Measurement, scores: &[LogitScore], cosine: &[f64]) {
    let mean = |field: fn(&LogitScore) -> f64| compare::mean(scores, |_| true, field);
    let values = [
        ("kl", mean(|score| score.kl)),
        ("top1", mean(|score| score.agreement.top1)),
        ("cosine", compare::mean(cosine, |_| true, |&x| x)),
    ];
    for (quantity, value) in values {
        if let Some(value) = value {
            one.set(quantity, value);
        }
    }
}
