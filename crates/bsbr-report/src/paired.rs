//! Numbers from several models on the same samples.

use std::collections::BTreeMap;

use crate::estimate::{BOOTSTRAP, Estimate};
use crate::record::{Pool, Records};
use crate::section::Better;

/// The values of several arms' quantity for each sample that all have.
pub(crate) fn rows<const N: usize>(
    records: &Records,
    arms: [&str; N],
    (from, length, quantity): (Pool<'_>, usize, &str),
) -> Vec<[f64; N]> {
    let samples = arms.map(|arm| -> BTreeMap<(&str, u64), f64> {
        let all = records.of(arm, from, length);
        all.filter_map(|one| {
            let value = one.values.get(quantity)?;
            Some(((one.source.as_str(), one.index), *value))
        })
        .collect()
    });
    let keys = samples.first().into_iter().flat_map(BTreeMap::keys);
    keys.filter(|key| samples.iter().all(|one| one.contains_key(key)))
        .map(|key| samples.each_ref().map(|one| one[key]))
        .collect()
}

/// The result of `combine` for the means of several arms' quantity over the samples that all have,
/// with a bootstrap interval in which samples are drawn together.
///
/// # Errors
///
/// Why there is no number, as text for a table.
pub(crate) fn together<const N: usize>(
    records: &Records,
    arms: [&str; N],
    (from, length, quantity): (Pool<'_>, usize, &str),
    combine: impl Fn([f64; N]) -> f64,
) -> Result<Estimate, String> {
    let rows = rows(records, arms, (from, length, quantity));
    if rows.is_empty() {
        // The first arm without a value gives the reason.
        for arm in arms {
            records.estimate(arm, from, length, quantity)?;
        }
        return Err("they have no sample in common".to_owned());
    }
    let n = rows.len();
    let statistic = |drawn: &[usize]| {
        let mut means = [0.0; N];
        for &at in drawn {
            for (mean, value) in means.iter_mut().zip(rows[at]) {
                *mean += value / drawn.len() as f64;
            }
        }
        combine(means)
    };
    let all: Vec<usize> = (0..n).collect();
    let mean = statistic(&all);
    if !mean.is_finite() {
        return Err("the divisor is 0".to_owned());
    }
    let interval =
        match n {
            1 => None,
            _ => Some(BOOTSTRAP.interval(n, statistic).map_err(
                |_| "the divisor is too small for an interval: it is 0 in some resamples",
            )?),
        };
    Ok(Estimate {
        mean,
        std: None,
        interval,
        n,
    })
}

/// The share of the gap between the first and the last arm's mean, in `unit`, that the second has
/// closed. If the first must be worse, `better` says which direction is better.
///
/// # Errors
///
/// Why there is no number, as text for a table.
pub(crate) fn closed(
    records: &Records,
    arms: [&str; 3],
    values: (Pool<'_>, usize, &str),
    unit: impl Fn(f64) -> f64,
    better: Option<Better>,
) -> Result<Estimate, String> {
    let gap = together(records, arms, values, |[before, _, goal]| {
        unit(before) - unit(goal)
    })?;
    match gap.interval {
        Some(ends) if gap.mean == 0.0 || ends.contains(0.0) => {
            return Err("nothing to recover: the 95 % interval of the gap includes 0".to_owned());
        }
        Some(_) => {}
        None => return Err("one sample does not tell whether anything was lost".to_owned()),
    }
    match better {
        Some(better) if (better == Better::Less) != (gap.mean > 0.0) => {
            Err("nothing to recover: it is better even before training".to_owned())
        }
        _ => together(records, arms, values, |[before, after, goal]| {
            // Without negative zero.
            (unit(before) - unit(after)) / (unit(before) - unit(goal)) + 0.0
        }),
    }
}
