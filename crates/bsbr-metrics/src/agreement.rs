//! Agreement of two models' token choices.

use serde::{Deserialize, Serialize};

use crate::{MetricError, Real, check};

/// The number of tokens that [`TopTokens`] keeps, and so the smallest vocabulary it accepts.
pub const TOP: usize = 10;

/// Agreement of two models at one position: each field is an [`overlap`], in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Whether the first choice is the same: 0 or 1.
    pub top1: f64,
    /// The share of the top five tokens that both models have.
    pub top5: f64,
    /// The share of the top ten tokens that both models have.
    pub top10: f64,
}

/// The ten most probable tokens of a model at one position, to compare with those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopTokens(Vec<usize>);

impl TopTokens {
    /// Those of a row of logits.
    ///
    /// # Errors
    /// A vocabulary of fewer than [`TOP`] tokens, and logits that are not finite.
    pub fn of<T: Real>(logits: &[T]) -> Result<Self, MetricError> {
        Ok(Self(top_k(logits, TOP)?))
    }

    /// The agreement with another model's. Symmetric.
    pub fn agreement(&self, other: &Self) -> Agreement {
        // The top ten in order contain the top five and the top one.
        let of = |k: usize| overlap(&self.0[..k], &other.0[..k]);
        Agreement {
            top1: of(1),
            top5: of(5),
            top10: of(TOP),
        }
    }
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

/// `|a ∩ b| / k`: the share of k distinct ids that are also among k others, in 0..=1.
pub fn overlap(a: &[usize], b: &[usize]) -> f64 {
    let mut b = b.to_vec();
    b.sort_unstable();
    let common = a.iter().filter(|&id| b.binary_search(id).is_ok()).count();
    common as f64 / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::{TopTokens, overlap, top_k};
    use crate::MetricError;

    #[test]
    fn ties_go_to_the_lower_id() {
        assert_eq!(top_k(&[1.0f32, 2.0, 2.0, 0.0], 1), Ok(vec![1]));
        assert_eq!(top_k(&[-0.0f32, 0.0, 1.0], 2), Ok(vec![2, 0]));
        assert_eq!(top_k(&[5.0f32; 6], 4), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn overlap_counts_shared_ids() {
        let (a, b) = ([0, 1, 2, 3], [1, 0, 3, 2]);
        let shares = [1, 2, 3, 4].map(|k| overlap(&a[..k], &b[..k]));
        assert_eq!(shares, [0.0, 1.0, 2.0 / 3.0, 1.0]);
    }

    #[test]
    fn one_selection_serves_every_k() {
        let a: Vec<f64> = (0..300).map(|i| (f64::from(i) * 1.3).sin()).collect();
        let b: Vec<f64> = (0..300).map(|i| (f64::from(i) * 1.3 + 0.4).sin()).collect();
        let [of_a, of_b] = [&a, &b].map(|row| TopTokens::of(row).unwrap());
        let all = of_a.agreement(&of_b);
        let of = |k| overlap(&top_k(&a, k).unwrap(), &top_k(&b, k).unwrap());
        assert_eq!([all.top1, all.top5, all.top10], [1, 5, 10].map(of));
    }

    #[test]
    fn refuses_a_k_without_meaning() {
        for k in [0, 4] {
            assert_eq!(
                top_k(&[1.0f32, 2.0, 3.0], k),
                Err(MetricError::KOutOfRange { k, vocabulary: 3 })
            );
        }
        assert!(TopTokens::of(&[1.0f32; 9]).is_err());
        assert!(top_k(&[1.0, f32::NAN], 1).is_err());
    }
}
