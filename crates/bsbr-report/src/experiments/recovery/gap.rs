//! Models compared sample by sample.

use std::collections::BTreeMap;

use bsbr_metrics::stats::{Bootstrap, Interval};

use crate::estimate::{Estimate, RESAMPLES};
use crate::record::{Pool, Records};

/// How means over samples become the number of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// As they are.
    Mean,
    /// Their exponential: a perplexity, of mean negative log likelihoods.
    Exponential,
}

impl Scale {
    /// Whether one number is worse than another: perplexities are better the lower they are,
    /// everything else the higher.
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

/// A quantity, and the samples that it is measured on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'a> {
    pub quantity: &'a str,
    pub from: Pool<'a>,
    pub length: usize,
    pub scale: Scale,
}

impl Measured<'_> {
    /// A model's number.
    pub fn of(&self, records: &Records, id: &str) -> Result<Estimate, String> {
        let found = records.estimate(id, self.from, self.length, self.quantity)?;
        Ok(match self.scale {
            Scale::Mean => found,
            Scale::Exponential => Estimate {
                mean: found.mean.exp(),
                std: None,
                interval: found.interval.map(|interval| Interval {
                    low: interval.low.exp(),
                    high: interval.high.exp(),
                }),
                n: found.n,
            },
        })
    }

    /// What `combine` makes of several models' numbers; samples are drawn together for all.
    ///
    /// # Errors
    ///
    /// Why there is no number, as a table should say it.
    pub fn together<const N: usize>(
        &self,
        records: &Records,
        ids: [&str; N],
        combine: impl Fn([f64; N]) -> f64,
    ) -> Result<Estimate, String> {
        let columns = ids.map(|id| self.values(records, id));
        let mut rows: Vec<[f64; N]> = Vec::new();
        for sample in columns[0].keys() {
            let row = columns.each_ref().map(|column| column.get(sample).copied());
            if row.iter().all(Option::is_some) {
                rows.push(row.map(Option::unwrap_or_default));
            }
        }
        if rows.is_empty() {
            // The model that was not measured knows why.
            for id in ids {
                self.of(records, id)?;
            }
            return Err("the models have no sample in common".to_owned());
        }
        let n = rows.len();
        let statistic = |drawn: &[usize]| {
            let mut means = [0.0; N];
            for &at in drawn {
                for (mean, value) in means.iter_mut().zip(rows[at]) {
                    *mean += value / drawn.len() as f64;
                }
            }
            combine(means.map(|mean| self.scale.of(mean)))
        };
        let all: Vec<usize> = (0..n).collect();
        let mean = statistic(&all);
        if !mean.is_finite() {
            return Err("there is no gap".to_owned());
        }
        let bootstrap = Bootstrap {
            resamples: RESAMPLES,
            seed: 0,
        };
        let interval = match n {
            1 => None,
            _ => Some(bootstrap.interval(n, statistic).map_err(
                |_| "the gap is too small for an interval: some draws of the samples have none",
            )?),
        };
        Ok(Estimate {
            mean,
            std: None,
            interval,
            n,
        })
    }

    /// The share of the gap between `before` and `goal` that `after` has closed.
    ///
    /// # Errors
    ///
    /// Why there is no share; among that, that the gap may be none, and that there is nothing to
    /// win back.
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
            return Err("nothing to win back: before training it is better than that".to_owned());
        }
        self.together(records, [before, after, goal], |[before, after, goal]| {
            // Without a negative zero.
            (before - after) / (before - goal) + 0.0
        })
    }

    /// Values by sample.
    fn values<'r>(&self, records: &'r Records, id: &'r str) -> BTreeMap<(&'r str, u64), f64> {
        records
            .measurements()
            .filter(|one| one.arm == id && one.length == self.length)
            .filter(|one| match self.from {
                Pool::Texts => true,
                Pool::Source(source) => one.source == source,
            })
            .filter_map(|one| {
                let value = one.values.get(self.quantity)?;
                Some(((one.source.as_str(), one.index), *value))
            })
            .collect()
    }
}
