//! Comparison of models sample by sample.

use crate::estimate::Estimate;
use crate::paired;
use crate::record::{Pool, Records};

/// How a table's number follows from means over samples.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// The mean itself.
    Mean,
    /// Its exponential: a perplexity from mean negative log likelihoods.
    Exponential,
}

impl Scale {
    /// Whether one number is worse than another: lower perplexities are better, and higher
    /// values of everything else.
    fn worse(self, one: f64, other: f64) -> bool {
        match self {
            Self::Mean => one < other,
            Self::Exponential => one > other,
        }
    }

    fn of(self, mean: f64) -> f64 {
        match self {
            Self::Mean => mean,
            Self::Exponential => mean.exp(),
        }
    }
}

/// A quantity, and its samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    pub quantity: &'a str,
    pub from: Pool<'a>,
    pub length: usize,
    pub scale: Scale,
}

impl Measured<'_> {
    /// The result of `combine` from several models' numbers; samples are resampled together for
    /// all.
    ///
    /// # Errors
    ///
    /// Why there is no number, as text for a table.
    pub fn together<const N: usize>(
        &self,
        records: &Records,
        ids: [&str; N],
        combine: impl Fn([f64; N]) -> f64,
    ) -> Result<Estimate, String> {
        let column = (self.from, self.length, self.quantity);
        paired::together(records, ids, column, |means| {
            combine(means.map(|mean| self.scale.of(mean)))
        })
    }

    /// The share of the gap between `before` and `goal` that `after` has closed.
    ///
    /// # Errors
    ///
    /// Why there is no share: for example, the gap may be zero, or there is nothing to recover.
    pub fn closed(
        &self,
        records: &Records,
        [before, after, goal]: [&str; 3],
    ) -> Result<Estimate, String> {
        let gap = self.together(records, [before, goal], |[before, goal]| before - goal)?;
        if gap.mean == 0.0 || gap.interval.is_some_and(|interval| interval.contains(0.0)) {
            return Err("no gap to close: its 95 % interval includes 0".to_owned());
        }
        if !self.scale.worse(gap.mean, 0.0) {
            return Err("nothing to recover: it is better even before training".to_owned());
        }
        self.together(records, [before, after, goal], |[before, after, goal]| {
            // Without negative zero.
            (before - after) / (before - goal) + 0.0
        })
    }
}
