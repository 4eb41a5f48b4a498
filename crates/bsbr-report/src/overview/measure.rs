//! Measurement of one number in the records of its experiment.

use crate::estimate::Estimate;
use crate::judge::tally;
use crate::overview::Recorded;
use crate::overview::data::{Lengths, Measure, Values};
use crate::paired::{closed, together};
use crate::present::{below, exponent};
use crate::record::{Pool, Records};
use crate::section::Cell;
use crate::style::Style;
use crate::verdict::Bounds;

/// An arm's value at each length of a measure, with the length if there may be several, or why
/// there is none.
pub(crate) type Cases = Result<Vec<(Option<usize>, Cell)>, String>;

/// The case that decides on limits.
pub(crate) fn decisive(cases: &Cases, bounds: &Bounds) -> (Option<usize>, Cell) {
    let missing = |reason: &str| (None, Cell::Missing(reason.to_owned()));
    match cases {
        Ok(cases) => {
            let worst = bounds.worst(cases.iter().map(|(_, cell)| cell));
            worst.map_or_else(|| missing(""), |worst| cases[worst].clone())
        }
        Err(reason) => missing(reason),
    }
}

/// The cases of an arm.
pub(crate) fn each(one: &Measure, experiment: &Recorded<'_>, arm: &str, style: Style) -> Cases {
    let Measure::Median {
        quantity,
        source,
        lengths,
    } = one
    else {
        return Ok(vec![(None, measure(one, experiment, arm, style)?)]);
    };
    let (records, pool) = (experiment.records, source.pool());
    let all: Vec<usize> = match lengths {
        Lengths::These(all) => all.clone(),
        Lengths::From { from } => {
            let levels = records.levels(arm, pool, quantity).into_iter();
            let lengths = levels.map(|level| level.length);
            lengths.filter(|length| length >= from).collect()
        }
    };
    let median = |length: usize| {
        let values = records.values(arm, pool, length, quantity);
        let reason = || records.estimate(arm, pool, length, quantity).err();
        let found = Estimate::of_median(&values);
        Cell::of(found.ok_or_else(|| reason().unwrap_or_default()), style)
    };
    let several = !matches!(lengths, Lengths::These(all) if all.len() == 1);
    let cells = all.into_iter();
    let cells: Vec<(Option<usize>, Cell)> = cells
        .map(|length| (several.then_some(length), median(length)))
        .collect();
    match cells.first() {
        None => Err("not measured yet".to_owned()),
        Some((_, Cell::Missing(reason)))
            if cells.iter().all(|(_, cell)| cell.value().is_none()) =>
        {
            Err(reason.clone())
        }
        _ => Ok(cells),
    }
}

/// An arm's value in the records, or why it is missing; of several lengths, the first.
pub(super) fn measure(
    measure: &Measure,
    experiment: &Recorded<'_>,
    arm: &str,
    style: Style,
) -> Result<Cell, String> {
    let Recorded { spec, records } = *experiment;
    let found = match measure {
        Measure::Goal(name) => {
            let goal = measure.goal(spec);
            let goal = goal.ok_or_else(|| format!("there is no goal “{name}”"))?;
            return self::measure(&goal.measure, experiment, arm, style);
        }
        Measure::Mean(of) => mean(records, arm, of)?,
        Measure::Rate(of) => {
            let seconds = mean(records, arm, of)?;
            seconds.map(|seconds| of.length as f64 / seconds)
        }
        Measure::Cache { length } => {
            let spec = spec.arm(arm);
            let spec = spec.ok_or_else(|| format!("there is no arm `{arm}`"))?;
            let model = &records.first().ok_or("nothing recorded yet")?.model;
            let head = model.hidden_size / model.heads.max(1);
            let dense = (2 * length * head) as f64;
            let share = spec.config.cache_numbers(*length, head) / dense;
            return Ok(Cell::Number(share, style));
        }
        Measure::Ratio { of, over } => {
            together(records, [arm, over], of.in_records(), |[own, over]| {
                own / over
            })?
        }
        Measure::Gap { of, before, goal } => {
            let unit = |mean: f64| mean;
            closed(records, [before, arm, goal], of.in_records(), unit, None)?
        }
        Measure::Crossover {
            quantity,
            source,
            over,
        } => {
            let levels = |arm: &str| records.levels(arm, source.pool(), quantity);
            return below(&levels(arm), &levels(over), style);
        }
        Measure::Exponent {
            quantity,
            source,
            from,
        } => {
            let mut levels = records.levels(arm, source.pool(), quantity);
            levels.retain(|level| level.length >= *from);
            return exponent(&levels, style);
        }
        Measure::Median { .. } => {
            let first = each(measure, experiment, arm, style)?.into_iter().next();
            return first.map(|(_, cell)| cell).ok_or_else(String::new);
        }
        Measure::Size(of) => return Ok(Cell::Number(mean(records, arm, of)?.mean, style)),
        Measure::Preference { over } => {
            let (tally, place) = tally(records).between(arm, over);
            tally.preference(place)?
        }
    };
    Ok(Cell::of(Ok(found), style))
}

impl Values {
    fn in_records(&self) -> (Pool<'_>, usize, &str) {
        (self.source.pool(), self.length, &self.quantity)
    }
}

fn mean(records: &Records, arm: &str, of: &Values) -> Result<Estimate, String> {
    records.estimate(arm, of.source.pool(), of.length, &of.quantity)
}
