//! One statement in the records of its experiment.

use bsbr_metrics::stats::Bootstrap;

use crate::estimate::{Estimate, RESAMPLES};
use crate::growth::{Crossover, PowerLaw};
use crate::judge::tally;
use crate::overview::data::{Measure, On, Statement};
use crate::overview::{Source, not_run};
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
    if let Some(wanted) = statement.device.filter(|one| *one != On::of(device)) {
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
    if source.spec.arm(&arm).is_none() {
        return Err(format!("“{arm}” is no arm of that experiment"));
    }
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
            let from = pool(source.as_deref());
            let found = ratio(records, [arm, over], from, *length, quantity)?;
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
            let found = Estimate {
                mean: fit.exponent,
                std: None,
                interval: fit.interval,
                n: levels.len(),
            };
            Ok(measured(found, style))
        }
        Measure::Preference { over } => {
            let (tally, place) = tally(records).between(arm, over);
            Ok(measured(tally.preference(place)?, style))
        }
        Measure::None(reason) => Err(reason.clone()),
    }
}

fn pool(source: Option<&str>) -> Pool<'_> {
    source.map_or(Pool::Texts, Pool::Source)
}

fn measured(found: Estimate, style: Style) -> (f64, Cell) {
    (found.mean, Cell::Measured(found, style))
}

/// The mean of the first arm by that of the second, over the samples that both have, with a
/// bootstrap interval over samples.
fn ratio(
    records: &Records,
    [own, over]: [&str; 2],
    from: Pool<'_>,
    length: usize,
    quantity: &str,
) -> Result<Estimate, String> {
    let pairs: Vec<(f64, f64)> = records
        .of(own, from, length)
        .filter_map(|one| {
            let same = records
                .of(over, from, length)
                .find(|other| other.source == one.source && other.index == one.index)?;
            Some((*one.values.get(quantity)?, *same.values.get(quantity)?))
        })
        .collect();
    if pairs.is_empty() {
        // Whichever of the two has no value says why.
        records.estimate(own, from, length, quantity)?;
        records.estimate(over, from, length, quantity)?;
        return Err("the two have no sample in common".to_owned());
    }
    let of = |drawn: &mut dyn Iterator<Item = usize>| {
        let (own, over) = drawn.fold((0.0, 0.0), |(own, over), at| {
            (own + pairs[at].0, over + pairs[at].1)
        });
        own / over
    };
    let mean = of(&mut (0..pairs.len()));
    if !mean.is_finite() {
        return Err(format!("“{over}” gives 0"));
    }
    let bootstrap = Bootstrap {
        resamples: RESAMPLES,
        seed: 0,
    };
    let interval = bootstrap.interval(pairs.len(), |drawn| of(&mut drawn.iter().copied()));
    Ok(Estimate {
        mean,
        std: None,
        interval: interval.ok().filter(|_| pairs.len() > 1),
        n: pairs.len(),
    })
}

fn crossover(
    records: &Records,
    arms: [&str; 2],
    source: &str,
    quantity: &str,
    style: Style,
) -> Value {
    let [own, over] = arms.map(|arm| records.levels(arm, Pool::Source(source), quantity));
    let lengths = own.iter().map(|level| level.length);
    let (longest, n) = (lengths.max().unwrap_or_default(), own.len());
    let found = Crossover::of(&own, &over).ok_or("not measured yet")?;
    Ok(match found {
        Crossover::Always => (0.0, Cell::Text(found.describe(longest))),
        Crossover::Never => (f64::INFINITY, Cell::Text(found.describe(longest))),
        Crossover::At(mean, interval) => {
            let std = None;
            let found = Estimate {
                mean,
                std,
                interval,
                n,
            };
            measured(found, style)
        }
    })
}

/// A cell in as few words as can be; nothing where it is empty.
fn short(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Measured(found, style) => Some(style.with_unit(found.mean)),
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    }
}
