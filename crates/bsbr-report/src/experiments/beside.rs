//! Comparison of models with the dense one, on one text.

use std::time::Instant;

use bsbr_gpt2::Gpt2;
use bsbr_metrics::MetricError;

use crate::compare::{self, Expected, LogitScore, States};
use crate::error::ReportError;
use crate::record::{ALL, Measurement};

/// Models whose hidden states are held at a time.
const MODELS_AT_A_TIME: usize = 16;

/// The dense model's states on a text, or why it cannot read it.
pub(super) struct Reference<'a> {
    model: &'a Gpt2,
    ids: &'a [u32],
    states: Result<States, String>,
    /// The index of the model that runs first.
    first: usize,
}

/// A model's pass over the text.
pub(super) struct Pass<'a> {
    pub model: &'a Gpt2,
    pub states: &'a States,
    pub seconds: f64,
}

impl<'a> Reference<'a> {
    /// Reads the text.
    pub(super) fn read(model: &'a Gpt2, ids: &'a [u32]) -> Result<Self, ReportError> {
        let states = match States::last_of(model, ids) {
            Ok(states) => Ok(states),
            Err(ReportError::Input(reason)) => Err(reason.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Self {
            model,
            ids,
            states,
            first: 0,
        })
    }

    /// The same, with models that run in an order that rotates with `turn`.
    pub(super) fn in_turn(self, turn: u64) -> Self {
        Self {
            first: turn as usize,
            ..self
        }
    }

    /// Fills the measurement of each model with the results of `fill` from the scores of all
    /// positions, the cosines of the final hidden states and the model's pass, or with the reason
    /// why they are missing.
    pub(super) fn compare<T: Send>(
        &self,
        models: &[Result<Gpt2, String>],
        measurements: &mut [Measurement],
        score: impl Fn(usize, &Expected<'_>, &[f32]) -> Result<T, MetricError> + Sync,
        fill: impl Fn(&mut Measurement, &[T], &[f64], Pass<'_>),
    ) -> Result<(), ReportError> {
        let dense = match &self.states {
            Ok(states) => states,
            Err(reason) => {
                let missing = |one: &mut Measurement| one.without(ALL, reason);
                measurements.iter_mut().for_each(missing);
                return Ok(());
            }
        };
        let width = self.model.config().n_embd;
        let turns = (0..models.len()).map(|turn| (turn + self.first) % models.len());
        let turns: Vec<usize> = turns.collect();
        for turns in turns.chunks(MODELS_AT_A_TIME) {
            let (mut runs, mut places) = (Vec::new(), Vec::new());
            for &place in turns {
                match &models[place] {
                    Ok(model) => {
                        let start = Instant::now();
                        runs.push((model.clone(), States::last_of(model, self.ids)?));
                        places.push((place, start.elapsed().as_secs_f64()));
                    }
                    Err(reason) => measurements[place].without(ALL, reason),
                }
            }
            let scores = compare::positions(self.model, dense, &runs, &score)?;
            for (((place, seconds), scores), (model, states)) in
                places.into_iter().zip(scores).zip(&runs)
            {
                let found = scores.and_then(|scores| {
                    let hidden = compare::hidden(dense.last(), states.last(), width)?;
                    Ok((scores, hidden.cosine))
                });
                let pass = Pass {
                    model,
                    states,
                    seconds,
                };
                measurements[place].fill(found, |one, (scores, cosine)| {
                    fill(one, &scores, &cosine, pass);
                });
            }
        }
        Ok(())
    }
}

/// Sets `kl`, `top1` and `cosine`: means over all positions.
pub(super) fn set_closeness(
    one: &mut Measurement,
    scores: &[LogitScore],
    cosine: &[f64],
    _: Pass<'_>,
) {
    let mean = |field: fn(&LogitScore) -> f64| compare::mean(scores, |_| true, field);
    one.set_known([
        ("kl", mean(|score| score.kl)),
        ("top1", mean(|score| score.agreement.top1)),
        ("cosine", compare::mean(cosine, |_| true, |&x| x)),
    ]);
}
