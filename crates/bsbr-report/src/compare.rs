//! Comparison of two models on the same tokens, position by position.

use bsbr_gpt2::{Gpt2, TokenBatch};
use bsbr_metrics::agreement::{Agreement, TopTokens};
use bsbr_metrics::{MetricError, divergence, similarity};
use bsbr_train::evaluate::nll;
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use crate::error::ReportError;

/// Logits held at a time, for each of the two models.
const LOGITS_AT_A_TIME: usize = 1 << 24;

/// Hidden states of one sequence, on the host and, for the logits, on the device.
#[derive(Debug)]
pub struct States {
    /// The embeddings, the residual stream after each block except the last, and the final norm's
    /// output: L + 1 of `[N · n_embd]`.
    pub layers: Vec<Vec<f32>>,
    last: Tensor<3>,
}

impl States {
    /// Runs a model on a sequence.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the model cannot take the sequence.
    pub fn of(model: &Gpt2, ids: &[u32]) -> Result<Self, ReportError> {
        let all = model.all_hidden_states(&TokenBatch::single(ids)?)?;
        Self::read(all)
    }

    /// Runs a model on a sequence and keeps only the final hidden states.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the model cannot take the sequence.
    pub fn last_of(model: &Gpt2, ids: &[u32]) -> Result<Self, ReportError> {
        Self::read(vec![model.hidden_states(&TokenBatch::single(ids)?)?])
    }

    /// Mean negative log likelihood of the sequence's tokens except the first, in nats.
    pub fn nll(&self, model: &Gpt2, ids: &[u32]) -> f64 {
        nll(model, self.last.clone(), ids, 1..ids.len()) / ids.len().saturating_sub(1).max(1) as f64
    }

    fn read(all: Vec<Tensor<3>>) -> Result<Self, ReportError> {
        let layers: Result<_, _> = all.iter().map(|x| host(x.clone())).collect();
        let none = || ReportError::Tensor("the model returned no hidden states".to_owned());
        Ok(Self {
            layers: layers?,
            last: all.into_iter().next_back().ok_or_else(none)?,
        })
    }

    /// The final hidden states.
    pub fn last(&self) -> &[f32] {
        self.layers.last().map_or(&[], Vec::as_slice)
    }
}

/// A tensor's values as f32.
///
/// # Errors
///
/// [`ReportError::Tensor`] if they cannot be read back.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ReportError> {
    let data = tensor.cast(DType::F32).into_data().try_into_vec();
    data.map_err(|error| ReportError::Tensor(format!("{error:?}")))
}

/// Similarity of hidden states at each position.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenScores {
    /// Cosine.
    pub cosine: Vec<f64>,
    /// Mean squared error.
    pub mse: Vec<f64>,
    /// ‖dense − arm‖² / ‖dense‖².
    pub relative_mse: Vec<f64>,
}

/// Compares hidden states of `width` dimensions.
///
/// # Errors
///
/// [`MetricError`] if a state is zero or not finite.
pub fn hidden(dense: &[f32], arm: &[f32], width: usize) -> Result<HiddenScores, MetricError> {
    let cosine = similarity::cosine_rows(dense, arm, width)?;
    let mse = similarity::mse_rows(dense, arm, width)?;
    let relative = |(row, mse): (&[f32], &f64)| {
        let square: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        mse * width as f64 / square
    };
    let relative_mse = dense.chunks_exact(width).zip(&mse).map(relative).collect();
    Ok(HiddenScores {
        cosine,
        mse,
        relative_mse,
    })
}

/// Similarity of next-token distributions at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitScore {
    /// KL(dense ‖ arm) in nats.
    pub kl: f64,
    /// Cosine of the logits.
    pub cosine: f64,
    /// Agreement of the top tokens.
    pub agreement: Agreement,
}

/// The dense model's prediction at one position, computed once for all arms.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    logits: &'a [f32],
    top: TopTokens,
    /// The distribution.
    pub distribution: divergence::Reference,
}

impl<'a> Expected<'a> {
    fn of(logits: &'a [f32]) -> Result<Self, MetricError> {
        Ok(Self {
            logits,
            top: TopTokens::of(logits)?,
            distribution: divergence::Reference::of(logits)?,
        })
    }

    /// Compares an arm's logits with the dense model's.
    ///
    /// # Errors
    ///
    /// [`MetricError`] if a logit is not finite.
    pub fn score(&self, arm: &[f32]) -> Result<LogitScore, MetricError> {
        Ok(LogitScore {
            kl: self.distribution.kl(arm)?,
            cosine: similarity::cosine(self.logits, arm)?,
            agreement: self.top.agreement(&TopTokens::of(arm)?),
        })
    }
}

/// Calls `score` for every position and arm with the dense model's prediction and the arm's
/// logits.
///
/// Logits are computed for a few positions at a time, the dense ones once for all arms.
///
/// # Errors
///
/// [`ReportError`] if logits cannot be read back; the inner [`MetricError`] for an arm whose
/// logits are not finite.
pub fn positions<T: Send>(
    dense: &Gpt2,
    dense_states: &States,
    arms: &[(Gpt2, States)],
    score: impl Fn(usize, &Expected<'_>, &[f32]) -> Result<T, MetricError> + Sync,
) -> Result<Vec<Result<Vec<T>, MetricError>>, ReportError> {
    let vocabulary = dense.output_table().dims()[0];
    let positions = dense_states.last.dims()[1];
    let rows = (LOGITS_AT_A_TIME / vocabulary).clamp(1, positions.max(1));
    let mut scores: Vec<Result<Vec<T>, MetricError>> = Vec::new();
    scores.resize_with(arms.len(), || Ok(Vec::with_capacity(positions)));
    for start in (0..positions).step_by(rows) {
        let count = rows.min(positions - start);
        let piece = |model: &Gpt2, states: &States| {
            host(model.logits(states.last.clone().narrow(1, start, count)))
        };
        let reference = piece(dense, dense_states)?;
        let expected = reference.par_chunks_exact(vocabulary).map(Expected::of);
        let expected: Result<Vec<Expected<'_>>, MetricError> = expected.collect();
        for ((model, states), scores) in arms.iter().zip(&mut scores) {
            let Ok(so_far) = scores else { continue };
            let piece = match &expected {
                Ok(expected) => expected
                    .par_iter()
                    .zip(piece(model, states)?.par_chunks_exact(vocabulary))
                    .enumerate()
                    .map(|(row, (dense, arm))| score(start + row, dense, arm))
                    .collect(),
                Err(error) => Err(error.clone()),
            };
            match piece {
                Ok(piece) => so_far.extend::<Vec<T>>(piece),
                Err(error) => *scores = Err(error),
            }
        }
    }
    Ok(scores)
}

/// [`Expected::score`], at any position.
///
/// # Errors
///
/// [`MetricError`] if a logit is not finite.
pub fn score(_: usize, dense: &Expected<'_>, arm: &[f32]) -> Result<LogitScore, MetricError> {
    dense.score(arm)
}

/// The mean of a field over selected positions; `None` without positions.
pub fn mean<T>(rows: &[T], keep: impl Fn(usize) -> bool, field: impl Fn(&T) -> f64) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for (_, row) in rows.iter().enumerate().filter(|(at, _)| keep(*at)) {
        sum += field(row);
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}
