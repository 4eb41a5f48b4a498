//! One statement in the records of its experiment.

use bsbr_metrics::stats::Interval;

use crate::estimate::Estimate;
use crate::growth::{Crossover, PowerLaw};
use crate::host::On;
use crate::judge::tally;
use crate::overview::data::{Measure, Statement};
use crate::overview::{Source, not_run};
use crate::paired::together;
use crate::record::{Pool, Records};
use crate::section::{Cell, Style};
use crate::spec::Bounds;

/// What a statement's records give.
pub(super) struct Found {
    /// The arm that decides.
    pub arm: String,
    /// The limits.
    pub bounds: Bounds,
    /// What is held against them.
    pub value: f64,
    /// The same, as it is written.
    pub cell: Cell,
    /// Other arms with theirs.
    pub beside: Vec<(String, String)>,
}

/// A value, and how it is written.
type Value = Result<(f64, Cell), String>;

/// Measures a statement, or says why not.
pub(super) fn measure(statement: &Statement, source: &Source<'_>) -> Result<Found, String> {
    let records = source.records;
    let Some(first) = records.first() else {
        return Err(not_run(statement));
    };
    let device = &first.identity.device;
    if let Some(wanted) = statement.device.filter(|one| Some(*one) != On::of(device)) {
        return Err(format!(
            "no records of “{}” on {}: these are of {device}",
            statement.experiment,
            wanted.name()
        ));
    }
    let style = statement.form.style();
    let (arm, bounds) = match &statement.measure {
        Measure::Bar(name) => {
            let bar = source.spec.bars.iter().find(|bar| bar.name == *name);
            let bar = bar.ok_or_else(|| format!("no bar is called “{name}”"))?;
            (bar.arm.clone(), bar.bounds())
        }
        _ => (statement.arm.clone(), statement.bounds()),
    };
    let (value, cell) = value(statement, source, &arm, style)?;
    let beside = statement.beside.iter().filter_map(|arm| {
        let (_, cell) = self::value(statement, source, arm, style).ok()?;
        Some((arm.clone(), short(&cell)?))
    });
    Ok(Found {
        beside: beside.collect(),
        arm,
        bounds,
        value,
        cell,
    })
}

fn value(statement: &Statement, source: &Source<'_>, arm: &str, style: Style) -> Value {
    let records = source.records;
    match &statement.measure {
        Measure::Bar(name) => {
            let bar = source.spec.bars.iter().find(|bar| bar.name == *name);
            let bar = bar.ok_or_else(|| format!("no bar is called “{name}”"))?;
            let found = records.estimate(arm, Pool::Texts, bar.length, &bar.quantity)?;
            Ok(measured(found, style))
        }
        Measure::Mean {
            quantity,
            length,
            source,
        } => {
            let found = records.estimate(arm, pool(source.as_deref()), *length, quantity)?;
            Ok(measured(found, style))
        }
        Measure::Ratio {
            quantity,
            length,
            source,
            over,
        } => {
            let column = (pool(source.as_deref()), *length, quantity.as_str());
            let found = together(records, [arm, over], column, |[own, over]| own / over)?;
            Ok(measured(found, style))
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
                    "`{before}` and `{goal}` do not differ: nothing to win back"
                ));
            }
            let closed = |[own, before, goal]: [f64; 3]| (own - before) / (goal - before);
            let found = together(records, [arm, before, goal], column, closed)?;
            Ok(measured(found, style))
        }
        Measure::Crossover {
            quantity,
            source,
            over,
        } => crossover(records, [arm, over], source, quantity, style),
        Measure::Exponent {
            quantity,
            source,
            from,
        } => {
            let mut levels = records.levels(arm, Pool::Source(source), quantity);
            levels.retain(|level| level.length >= *from);
            let fit = PowerLaw::fit(&levels).ok_or("a fit needs three lengths")?;
            Ok(derived(fit.exponent, fit.interval, style))
        }
        Measure::Preference { over } => {
            let (tally, place) = tally(records).between(arm, over);
            Ok(measured(tally.preference(place)?, style))
        }
    }
}

fn pool(source: Option<&str>) -> Pool<'_> {
    source.map_or(Pool::Texts, Pool::Source)
}

fn measured(found: Estimate, style: Style) -> (f64, Cell) {
    (found.mean, Cell::Measured(found, style))
}

fn crossover(
    records: &Records,
    arms: [&str; 2],
    source: &str,
    quantity: &str,
    style: Style,
) -> Value {
    let [own, over] = arms.map(|arm| records.levels(arm, Pool::Source(source), quantity));
    let longest = own.iter().map(|level| level.length).max();
    let found = Crossover::of(&own, &over).ok_or("not measured yet")?;
    let words = || Cell::Text(found.describe(longest.unwrap_or_default()));
    Ok(match found {
        Crossover::Always => (0.0, words()),
        Crossover::Never => (f64::INFINITY, words()),
        Crossover::At(tokens, interval) => {
            let spread = interval.map(|one| Crossover::describe_interval(&one));
            let cell = Cell::Spread(style.with_unit(tokens), spread.unwrap_or_default());
            (tokens, cell)
        }
    })
}

/// What comes of samples at several lengths, with its interval.
fn derived(value: f64, interval: Option<Interval>, style: Style) -> (f64, Cell) {
    let spread =
        interval.map(|one| format!("[{}, {}]", style.number(one.low), style.number(one.high)));
    let cell = Cell::Spread(style.with_unit(value), spread.unwrap_or_default());
    (value, cell)
}

/// A cell in as few words as can be; nothing where it is empty.
fn short(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Measured(found, style) => Some(style.with_unit(found.mean)),
        Cell::Text(text) | Cell::Spread(text, _) => Some(text.clone()),
        _ => None,
    }
}
