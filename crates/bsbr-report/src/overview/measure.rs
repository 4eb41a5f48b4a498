//! Measurement of one number in the records of its experiment.

use bsbr_metrics::stats::Interval;

use crate::estimate::Estimate;
use crate::growth::{Crossover, PowerLaw};
use crate::judge::tally;
use crate::overview::Recorded;
use crate::overview::data::{Column, Lengths, Measure};
use crate::paired::together;
use crate::record::{Pool, Records};
use crate::section::{Cell, Style};

/// An arm's value at each length of the measure, with the length if there may be several, or why
/// there is none.
pub(super) fn each(
    one: &Measure,
    source: &Recorded<'_>,
    arm: &str,
    style: Style,
) -> Result<Vec<(Option<usize>, Cell)>, String> {
    let Measure::Median {
        quantity,
        source: from,
        lengths,
    } = one
    else {
        return Ok(vec![(None, measure(one, source, arm, style)?)]);
    };
    let pool = Pool::Source(from);
    let all: Vec<usize> = match lengths {
        Lengths::These(all) => all.clone(),
        Lengths::From { from } => {
            let levels = source.records.levels(arm, pool, quantity);
            let lengths = levels.iter().map(|level| level.length);
            lengths.filter(|length| length >= from).collect()
        }
    };
    let median = |length: usize| {
        let values = source.records.values(arm, pool, length, quantity);
        let reason = || source.records.estimate(arm, pool, length, quantity).err();
        let found = Estimate::of_median(&values);
        Cell::of(found.ok_or_else(|| reason().unwrap_or_default()), style)
    };
    let several = !matches!(lengths, Lengths::These(all) if all.len() == 1);
    let cells = all.into_iter();
    let cells: Vec<(Option<usize>, Cell)> = cells
        .map(|length| (several.then_some(length), median(length)))
        .collect();
    match cells.iter().any(|(_, cell)| cell.value().is_some()) {
        true => Ok(cells),
        false => Err(match cells.into_iter().next() {
            Some((_, Cell::Missing(reason))) => reason,
            _ => "not measured yet".to_owned(),
        }),
    }
}

/// An arm's value in the records, or why it is missing; of several lengths, the first.
pub(super) fn measure(
    measure: &Measure,
    source: &Recorded<'_>,
    arm: &str,
    style: Style,
) -> Result<Cell, String> {
    let records = source.records;
    Ok(match measure {
        Measure::Goal(name) => {
            let goal = source.spec.goals.iter().find(|goal| goal.name == *name);
            let goal = goal.ok_or_else(|| format!("there is no goal “{name}”"))?;
            let found = records.estimate(arm, Pool::Texts, goal.length, &goal.quantity)?;
            Cell::Measured(found, style)
        }
        Measure::Mean(column) => Cell::Measured(mean(records, arm, column)?, style),
        Measure::Rate(column) => {
            let seconds = mean(records, arm, column)?;
            let rate = |seconds: f64| column.length as f64 / seconds;
            let found = Estimate {
                mean: rate(seconds.mean),
                std: None,
                interval: seconds.interval.map(|ends| Interval {
                    low: rate(ends.high),
                    high: rate(ends.low),
                }),
                n: seconds.n,
            };
            Cell::Measured(found, style)
        }
        Measure::Cache { length } => {
            let spec = source
                .spec
                .arm(arm)
                .ok_or_else(|| format!("there is no arm `{arm}`"))?;
            let model = &records.first().ok_or("nothing recorded yet")?.model;
            let head = model.hidden_size / model.heads.max(1);
            let dense = (2 * length * head) as f64;
            Cell::Number(spec.config.cache_numbers(*length, head) / dense, style)
        }
        Measure::Ratio {
            quantity,
            length,
            source,
            over,
        } => {
            let column = (pool(source.as_deref()), *length, quantity.as_str());
            let found = together(records, [arm, over], column, |[own, over]| own / over)?;
            Cell::Measured(found, style)
        }
        Measure::Gap {
            quantity,
            length,
            source,
            before,
            goal,
        } => {
            let column = (pool(source.as_deref()), *length, quantity.as_str());
            let gap = together(records, [before, goal], column, |[from, to]| to - from)?;
            if gap.mean == 0.0 || gap.interval.is_some_and(|one| one.contains(0.0)) {
                return Err(format!(
                    "`{before}` and `{goal}` do not differ: nothing to recover"
                ));
            }
            let closed = |[own, before, goal]: [f64; 3]| (own - before) / (goal - before);
            let found = together(records, [arm, before, goal], column, closed)?;
            Cell::Measured(found, style)
        }
        Measure::Crossover {
            quantity,
            source,
            over,
        } => crossover(records, [arm, over], source, quantity, style)?,
        Measure::Exponent {
            quantity,
            source,
            from,
        } => {
            let mut levels = records.levels(arm, Pool::Source(source), quantity);
            levels.retain(|level| level.length >= *from);
            let fit = PowerLaw::fit(&levels).ok_or("a fit needs three lengths")?;
            let ends = fit
                .interval
                .map(|one| format!("[{}, {}]", style.number(one.low), style.number(one.high)));
            Cell::Derived {
                value: fit.exponent,
                interval: fit.interval,
                text: style.with_unit(fit.exponent),
                spread: ends.unwrap_or_default(),
            }
        }
        Measure::Median { .. } => {
            let cells = each(measure, source, arm, style)?.into_iter();
            let mut cells = cells.map(|(_, cell)| cell);
            cells.next().ok_or("not measured yet")?
        }
        Measure::Size(column) => Cell::Number(mean(records, arm, column)?.mean, style),
        Measure::Preference { over } => {
            let (tally, place) = tally(records).between(arm, over);
            Cell::Measured(tally.preference(place)?, style)
        }
    })
}

fn mean(records: &Records, arm: &str, column: &Column) -> Result<Estimate, String> {
    let from = pool(column.source.as_deref());
    records.estimate(arm, from, column.length, &column.quantity)
}

fn pool(source: Option<&str>) -> Pool<'_> {
    source.map_or(Pool::Texts, Pool::Source)
}

fn crossover(
    records: &Records,
    arms: [&str; 2],
    source: &str,
    quantity: &str,
    style: Style,
) -> Result<Cell, String> {
    let [own, over] = arms.map(|arm| records.levels(arm, Pool::Source(source), quantity));
    let longest = own.iter().map(|level| level.length).max();
    let found = Crossover::of(&own, &over).ok_or("not measured yet")?;
    let words = |value| Cell::Derived {
        value,
        interval: None,
        text: found.describe(longest.unwrap_or_default()),
        spread: String::new(),
    };
    Ok(match found {
        Crossover::Always => words(0.0),
        Crossover::Never => words(f64::INFINITY),
        Crossover::At(tokens, interval) => {
            let spread = interval.map(|one| Crossover::describe_interval(&one));
            Cell::Derived {
                value: tokens,
                interval,
                text: style.with_unit(tokens),
                spread: spread.unwrap_or_default(),
            }
        }
    })
}
