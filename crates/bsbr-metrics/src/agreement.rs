//! Agreement of two models' token choices.

use serde::{Deserialize, Serialize};

use crate::{MetricError, Real, check};

/// The largest k of [`Agreement`], and so the smallest vocabulary it accepts.
pub const LARGEST_K: usize = 10;

/// Agreement of two models at one position: each field is a [`top_k_overlap`], in
/// 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Whether the first choice is the same: 0 or 1.
    pub top1: f64,
    /// The share of the top five tokens that both models have.
    pub top5: f64,
    /// The share of the top ten tokens that both models have.
    pub top10: f64,
}

/// The [`Agreement`] of two rows of logits. Symmetric in its arguments.
///
/// # Errors
/// A vocabulary of fewer than [`LARGEST_K`] tokens, rows of different lengths,
/// and logits that are not finite.
pub fn agreement<T: Real>(dense: &[T], arm: &[T]) -> Result<Agreement, MetricError> {
    check::same_length("logits", dense, arm)?;
    // The top ten in order contain the top five and the top one.
    let (a, b) = (top_k(dense, LARGEST_K)?, top_k(arm, LARGEST_K)?);
    Ok(Agreement {
        top1: shared(&a[..1], &b[..1]),
        top5: shared(&a[..5], &b[..5]),
        top10: shared(&a, &b),
    })
}

/// `|topk(a) ∩ topk(b)| / k`: the share of the top k tokens that both rows have, in
/// any order, in 0..=1.
///
/// # Errors
/// [`MetricError::KOutOfRange`] if k is zero or exceeds the vocabulary; rows of
/// different lengths, empty rows, and logits that are not finite.
pub fn top_k_overlap<T: Real>(a: &[T], b: &[T], k: usize) -> Result<f64, MetricError> {
    check::same_length("logits", a, b)?;
    Ok(shared(&top_k(a, k)?, &top_k(b, k)?))
}

/// The ids of the k largest logits, best first; equal logits are ordered by
/// lower id, so that the answer is unique.
///
/// One pass over the vocabulary, which keeps the best k so far in order: meant for a small k.
///
/// # Errors
/// [`MetricError::KOutOfRange`] if k is zero or exceeds the vocabulary; logits that
/// are not finite.
pub fn top_k<T: Real>(logits: &[T], k: usize) -> Result<Vec<usize>, MetricError> {
    check::not_empty("logits", logits)?;
    check::finite("logit", logits)?;
    if k == 0 || k > logits.len() {
        return Err(MetricError::KOutOfRange {
            k,
            vocabulary: logits.len(),
        });
    }
    let mut best: Vec<(f64, usize)> = Vec::with_capacity(k + 1);
    for (id, &logit) in logits.iter().enumerate() {
        let logit: f64 = logit.into();
        if best.len() == k && logit <= best[k - 1].0 {
            continue;
        }
        // After its equals, which have lower ids.
        let place = best.partition_point(|&(other, _)| other >= logit);
        best.insert(place, (logit, id));
        best.truncate(k);
    }
    Ok(best.into_iter().map(|(_, id)| id).collect())
}

/// The share of `a` that is also in `b`; both hold the same number of distinct ids.
fn shared(a: &[usize], b: &[usize]) -> f64 {
    let mut b = b.to_vec();
    b.sort_unstable();
    let common = a.iter().filter(|&id| b.binary_search(id).is_ok()).count();
    common as f64 / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::{agreement, top_k, top_k_overlap};
    use crate::MetricError;

    #[test]
    fn ties_go_to_the_lower_id() {
        assert_eq!(top_k(&[1.0f32, 2.0, 2.0, 0.0], 1), Ok(vec![1]));
        assert_eq!(top_k(&[-0.0f32, 0.0, 1.0], 2), Ok(vec![2, 0]));
        assert_eq!(top_k(&[5.0f32; 6], 4), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn overlap_counts_shared_ids() {
        let (a, b) = ([4.0f32, 3.0, 2.0, 1.0], [3.0f32, 4.0, 1.0, 2.0]);
        assert_eq!(top_k_overlap(&a, &b, 1), Ok(0.0));
        assert_eq!(top_k_overlap(&a, &b, 2), Ok(1.0));
        assert_eq!(top_k_overlap(&a, &b, 3), Ok(2.0 / 3.0));
        assert_eq!(top_k_overlap(&a, &b, 4), Ok(1.0));
    }

    #[test]
    fn one_selection_serves_every_k() {
        let a: Vec<f64> = (0..300).map(|i| (f64::from(i) * 1.3).sin()).collect();
        let b: Vec<f64> = (0..300).map(|i| (f64::from(i) * 1.3 + 0.4).sin()).collect();
        let all = agreement(&a, &b).unwrap();
        assert_eq!(all.top1, top_k_overlap(&a, &b, 1).unwrap());
        assert_eq!(all.top5, top_k_overlap(&a, &b, 5).unwrap());
        assert_eq!(all.top10, top_k_overlap(&a, &b, 10).unwrap());
    }

    #[test]
    fn refuses_a_k_without_meaning() {
        for k in [0, 4] {
            assert_eq!(
                top_k(&[1.0f32, 2.0, 3.0], k),
                Err(MetricError::KOutOfRange { k, vocabulary: 3 })
            );
        }
        assert!(agreement(&[1.0f32; 9], &[1.0; 9]).is_err());
        assert!(top_k(&[1.0, f32::NAN], 1).is_err());
    }
}
