//! What experiments' sections have in common.

use std::collections::BTreeMap;

use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};

use crate::error::ReportError;
use crate::estimate::Estimate;
use crate::experiment::{Unit, batches};
use crate::lab::Lab;
use crate::record::{Measurement, Pool, Records};
use crate::render::chart::Series;
use crate::rounds::wait_for;
use crate::section::{Cell, Headline, Row, Style, Table, Verdict};
use crate::spec::{ArmSpec, Bar, Spec, dense};

/// Tokens of the pass before an arm's first sample, which is not timed.
const WARM_UP: usize = 64;

/// What a row is about: an arm, or what arms are compared with.
pub(super) struct Subject {
    /// What records call it.
    pub id: String,
    /// What tables call it.
    pub label: String,
    /// The place of the arm in the specification.
    pub arm: Option<usize>,
    /// Whether the row stands out.
    pub strong: bool,
}

impl Subject {
    /// The arms of a specification.
    pub fn arms(arms: &[ArmSpec]) -> Vec<Self> {
        let one = |(index, arm): (usize, &ArmSpec)| Self {
            id: arm.id.clone(),
            label: arm.label.clone(),
            arm: Some(index),
            strong: arm.default,
        };
        arms.iter().enumerate().map(one).collect()
    }

    /// What is no arm.
    pub fn other(id: &str, label: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: label.to_owned(),
            arm: None,
            strong: false,
        }
    }
}

/// A column: its heading, what it selects, and how it is written.
pub(super) struct Column<'a> {
    pub title: String,
    pub from: Pool<'a>,
    pub length: usize,
    pub quantity: String,
    pub style: Style,
}

/// A table with a row for each arm.
pub(super) fn by_arm(
    title: impl Into<String>,
    note: impl Into<String>,
    arms: &[ArmSpec],
    records: &Records,
    columns: &[Column<'_>],
) -> Table {
    by_subject(title, note, &Subject::arms(arms), records, columns)
}

/// A table with a row for each subject.
pub(super) fn by_subject(
    title: impl Into<String>,
    note: impl Into<String>,
    subjects: &[Subject],
    records: &Records,
    columns: &[Column<'_>],
) -> Table {
    let headings: Vec<(String, Style)> = columns
        .iter()
        .map(|one| (one.title.clone(), one.style))
        .collect();
    by_estimate(title, note, subjects, &headings, |subject, place| {
        let one = &columns[place];
        records.estimate(&subject.id, one.from, one.length, &one.quantity)
    })
}

/// A table with a row for each subject, of what is found for a subject and the place of a column.
pub(super) fn by_estimate(
    title: impl Into<String>,
    note: impl Into<String>,
    subjects: &[Subject],
    columns: &[(String, Style)],
    find: impl Fn(&Subject, usize) -> Result<Estimate, String>,
) -> Table {
    let rows = subjects.iter().map(|subject| {
        let places = 0..columns.len();
        let found: Vec<_> = places.map(|place| find(subject, place)).collect();
        // Columns of one table measure the same samples; where one has fewer, the row says so.
        let least = found.iter().flatten().map(|e| e.n).min();
        let most = found.iter().flatten().map(|e| e.n).max();
        let n = match (least, most) {
            (Some(least), Some(most)) if least != most => Cell::Text(format!("{least}–{most}")),
            (Some(n), _) => Cell::Number(n as f64, Style::Fixed(0)),
            _ => Cell::Number(0.0, Style::Fixed(0)),
        };
        let mut cells: Vec<Cell> = found
            .into_iter()
            .zip(columns)
            .map(|(found, (_, style))| Cell::of(found, *style))
            .collect();
        cells.push(n);
        Row {
            head: subject.label.clone(),
            arm: subject.arm,
            strong: subject.strong,
            cells,
        }
    });
    let rows = rows.collect();
    let mut headings: Vec<String> = columns.iter().map(|(title, _)| title.clone()).collect();
    headings.push("n".to_owned());
    Table {
        title: title.into(),
        note: note.into(),
        corner: "Arm".to_owned(),
        columns: headings,
        rows,
        folded: false,
    }
}

/// A headline number for each arm.
pub(super) fn headline(
    title: &str,
    note: &str,
    arms: &[ArmSpec],
    records: &Records,
    column: &Column<'_>,
) -> Headline {
    let cells: BTreeMap<String, Cell> = arms
        .iter()
        .map(|arm| {
            let found = records.estimate(&arm.id, column.from, column.length, &column.quantity);
            (arm.id.clone(), Cell::of(found, column.style))
        })
        .collect();
    let samples = cells.values().filter_map(|cell| match cell {
        Cell::Measured(e, _) => Some(e.n),
        _ => None,
    });
    let n = samples.max().map(|n| format!(", n = {n}"));
    Headline {
        title: title.to_owned(),
        note: format!("{note}{}", n.unwrap_or_default()),
        cells,
    }
}

/// What became of a specification's bars, on texts.
pub(super) fn verdicts(
    spec: &Spec,
    records: &Records,
    style: impl Fn(&Bar) -> Style,
) -> Vec<Verdict> {
    spec.bars
        .iter()
        .map(|bar| {
            let style = style(bar);
            let found = records.estimate(&bar.arm, Pool::Texts, bar.length, &bar.quantity);
            let holds = found.as_ref().ok().map(|e| bar.bounds().hold(e.mean));
            let label = spec.arm(&bar.arm);
            Verdict {
                claim: bar.name.clone(),
                arm: label.map_or_else(|| bar.arm.clone(), |arm| arm.label.clone()),
                bar: bar.bounds().words(style),
                n: found.as_ref().ok().map(|e| e.n),
                measured: Cell::of(found, style),
                holds,
            }
        })
        .collect()
}

/// How and where the records were made; what differs between them is listed.
pub(super) fn provenance(spec: &Spec, records: &Records) -> Vec<(String, String)> {
    let each = |of: &dyn Fn(&crate::record::Record) -> String| -> String {
        let mut values: Vec<String> = Vec::new();
        for value in records.iter().map(of) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        match values.is_empty() {
            true => "—, nothing is recorded yet".to_owned(),
            false => values.join("; "),
        }
    };
    let seconds: f64 = records.iter().map(|record| record.seconds).sum();
    let samples: usize = records.iter().map(|record| record.samples).sum();
    let rows: [(&str, String); 11] = [
        ("Command", each(&|r| r.run.command.clone())),
        (
            "Commit",
            each(&|r| match &r.run.commit {
                Some(commit) => commit.describe(),
                None => "none".to_owned(),
            }),
        ),
        ("Date", each(&|r| r.run.date.clone())),
        ("Machine", each(&|r| r.run.machine.describe())),
        (
            "Device",
            each(&|r| {
                let plural = if r.run.threads == 1 { "" } else { "s" };
                format!(
                    "{}, {}, {} thread{plural}",
                    r.identity.device, r.identity.dtype, r.run.threads
                )
            }),
        ),
        (
            "Model",
            each(&|r| format!("{}, {}", r.model.name, short(&r.identity.model))),
        ),
        ("Texts", each(&|r| r.run.texts.clone())),
        ("Calibration", each(&|r| r.run.calibration.clone())),
        ("Seed", spec.method.seed.to_string()),
        (
            "Sequences",
            format!(
                "{samples} in {} units, {seconds:.0} s",
                records.iter().count()
            ),
        ),
        (
            "Specification",
            each(&|r| format!("{}.toml, {}", r.method.experiment, short(&r.identity.spec))),
        ),
    ];
    rows.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn short(hash: &str) -> String {
    format!("SHA-256 {}…", hash.get(..12).unwrap_or(hash))
}

/// Texts of all domains as units; with fewer texts than domains, the first domains have one each.
pub(super) fn in_turns(
    lab: &Lab,
    length: usize,
    texts: u64,
    per_unit: u64,
    models: usize,
) -> Result<Vec<Unit>, ReportError> {
    let domains = lab.corpus().domains();
    let mut units = Vec::new();
    for (at, domain) in domains.iter().enumerate() {
        let turns = (texts + (domains.len() - 1 - at) as u64) / domains.len() as u64;
        let count = match turns {
            0 => 0,
            turns => lab.corpus().available(domain, length, turns)?,
        };
        units.extend(batches(domain, length, count, per_unit, models));
    }
    Ok(units)
}

/// `1 text`, `2 texts`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// `256, 512 and 1024`
pub(super) fn listed(all: &[usize]) -> String {
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The place of the dense model among arms.
pub(super) fn dense_place(arms: &[ArmSpec]) -> Option<usize> {
    let dense = dense(arms)?;
    arms.iter().position(|arm| arm.id == dense.id)
}

/// Each arm's model, ready to be timed, or why it cannot be had.
pub(super) fn ready_models(
    spec: &Spec,
    lab: &Lab,
    extension: PositionExtension,
) -> Vec<Result<Gpt2, String>> {
    let warm = TokenBatch::single(&[0; WARM_UP]);
    let ready = |arm: &ArmSpec| {
        let model = lab.model_for_any_length(arm, spec.method.seed, extension)?;
        let warm = warm.as_ref().map_err(ToString::to_string)?;
        // What a model cannot take is said of each sample.
        let _ = model
            .hidden_states(warm)
            .map(|hidden| wait_for(model.last_logits(hidden)));
        Ok(model)
    };
    spec.method.arms.iter().map(ready).collect()
}

/// The dense arm's measurement among those of one sample.
pub(super) fn of_dense<'a>(
    measurements: &'a [Measurement],
    arms: &[ArmSpec],
) -> Option<&'a Measurement> {
    let dense = dense(arms)?;
    measurements.iter().find(|one| one.arm == dense.id)
}

/// Sets `quantity.minus_dense` for each measurement of one sample, from what the dense arm got.
pub(super) fn beside_dense(
    measurements: &mut [Measurement],
    arms: &[ArmSpec],
    quantities: &[&str],
) {
    let Some(dense) = of_dense(measurements, arms).cloned() else {
        return;
    };
    for one in measurements {
        for &quantity in quantities {
            let name = format!("{quantity}.minus_dense");
            match (one.values.get(quantity), dense.values.get(quantity)) {
                (Some(own), Some(reference)) => one.set(name, own - reference),
                (Some(_), None) => one.without(name, "the dense model has no value here"),
                (None, _) => {}
            }
        }
    }
}

/// A line for each arm that has points.
pub(super) fn lines(
    arms: &[ArmSpec],
    points: impl Fn(&str) -> Vec<(f64, Estimate)>,
) -> Vec<Series> {
    arms.iter()
        .enumerate()
        .map(|(index, arm)| Series {
            arm: index,
            label: arm.label.clone(),
            strong: arm.default,
            points: points(&arm.id),
        })
        .filter(|series| !series.points.is_empty())
        .collect()
}

/// The highest end of an interval, or value, of these lines.
pub(super) fn greatest(series: &[Series]) -> f64 {
    let values = series.iter().flat_map(|one| &one.points);
    values
        .map(|(_, e)| e.interval.map_or(e.mean, |i| i.high))
        .fold(0.0, f64::max)
}

/// What a position extension does to these records, in words; nothing where none is chosen.
pub(super) fn extension_words(extension: PositionExtension, records: &Records) -> Option<String> {
    let model = &records.first()?.model;
    let how = match extension {
        PositionExtension::None => return None,
        PositionExtension::Interpolate { positions } => {
            format!("the table stretched to {positions} rows")
        }
        PositionExtension::RepeatLast { window } => {
            format!("its last {window} positions again and again")
        }
        PositionExtension::Crossfade { window, fade } => format!(
            "its last {window} positions again and again, each time mixed with what comes next \
             over {fade} of them"
        ),
        PositionExtension::Hierarchical => {
            "its positions a second time as numbers of blocks".to_owned()
        }
    };
    Some(format!(
        "{} has {} positions; where a sequence is longer, the model is given {how}, for which it \
         was not trained.",
        model.name, model.positions
    ))
}

/// 8192 as 8k, 1536 as 1.5k.
pub(super) fn short_length(length: usize) -> String {
    match length {
        _ if length.is_multiple_of(1024) => format!("{}k", length / 1024),
        1025.. if length.is_multiple_of(512) => format!("{}.5k", length / 1024),
        _ => length.to_string(),
    }
}

/// The domains, with what each has of `count` texts that take turns between them.
pub(super) fn shares(
    lab: &Lab,
    length: usize,
    count: u64,
) -> Result<Vec<(String, u64)>, ReportError> {
    let domains = lab.corpus().domains();
    let (all, rest) = match domains.len() as u64 {
        0 => (0, 0),
        n => (count / n, count % n),
    };
    domains
        .into_iter()
        .zip(0..)
        .map(|(domain, at)| {
            let found = match all + u64::from(at < rest) {
                0 => 0,
                wanted => lab.corpus().available(&domain, length, wanted)?,
            };
            Ok((domain, found))
        })
        .collect()
}
