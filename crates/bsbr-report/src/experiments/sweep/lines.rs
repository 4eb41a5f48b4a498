//! Arms at several values of a setting, as lines.

use crate::estimate::Estimate;
use crate::experiments::common::dense_place;
use crate::experiments::sweep::{QUESTIONS, Sweep};
use crate::present::subject::Subject;
use crate::record::{Pool, Records};
use crate::render::chart::{LineChart, Series};
use crate::render::scale::Scale;
use crate::section::{Cell, Column, Figure, Row, Style, Table};
use crate::spec::ArmSpec;

/// An arm at several values.
struct Swept<'a> {
    /// The name of the line.
    label: String,
    /// The setting, in words.
    setting: String,
    /// The value, the arm and its index among all arms.
    values: Vec<(f64, usize, &'a ArmSpec)>,
}

/// The swept arms of a specification, grouped by their common settings.
fn swept(arms: &[ArmSpec]) -> Vec<Swept<'_>> {
    let mut all: Vec<(String, Swept<'_>)> = Vec::new();
    for (place, arm) in arms.iter().enumerate().filter(|(_, arm)| arm.swept) {
        let Some((base, value)) = arm.id.rsplit_once('-') else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        let (label, last) = arm.label.rsplit_once(", ").unwrap_or(("", &arm.label));
        let setting = last.rsplit_once(' ').map_or(last, |(setting, _)| setting);
        match all.iter_mut().find(|(known, _)| known == base) {
            Some((_, one)) => one.values.push((value, place, arm)),
            None => all.push((
                base.to_owned(),
                Swept {
                    label: label.to_owned(),
                    setting: setting.to_owned(),
                    values: vec![(value, place, arm)],
                },
            )),
        }
    }
    let mut lines: Vec<_> = all.into_iter().map(|(_, one)| one).collect();
    // Several settings of one arm are distinguished by their names.
    if lines.iter().any(|line| line.setting != lines[0].setting) {
        for line in &mut lines {
            line.label.clone_from(&line.setting);
        }
    }
    lines
}

/// The rows of a table in the colours of the figure: one for all values of a line.
pub(super) fn subjects(arms: &[ArmSpec]) -> Vec<Subject> {
    let lines = swept(arms);
    let mut others = (lines.len() + 1)..;
    let mut subjects = Subject::arms(arms);
    for (place, subject) in subjects.iter_mut().enumerate() {
        let own = |line: &Swept<'_>| line.values.iter().any(|(_, at, _)| *at == place);
        subject.arm = match lines.iter().position(own) {
            Some(line) => Some(line_colour(line)),
            None if Some(place) == dense_place(arms) => Some(0),
            None => others.next(),
        };
    }
    subjects
}

/// The colour of a line; the first one is that of the dense model.
fn line_colour(line: usize) -> usize {
    line + 1
}

fn found(
    experiment: &Sweep,
    records: &Records,
    arm: &str,
    quantity: &str,
) -> Result<Estimate, String> {
    let settings = &experiment.settings;
    let (from, length) = match quantity {
        "among" | "exact" => (Pool::Source(QUESTIONS), settings.distance),
        _ => (Pool::Texts, settings.length),
    };
    records.estimate(arm, from, length, quantity)
}

/// Every value relative to the first of its line.
pub(super) fn relative(experiment: &Sweep, records: &Records) -> Table {
    // Above 1 means more: speed instead of time, so that the report's figures are
    // comparable.
    const QUANTITIES: [(&str, &str); 4] = [
        ("seconds", "speed"),
        ("cache", "cache"),
        ("kl", "KL"),
        ("among", "right answers"),
    ];
    let mut rows = Vec::new();
    for (colour, line) in swept(experiment.arms()).into_iter().enumerate() {
        let Some((_, _, first)) = line.values.first() else {
            continue;
        };
        for (_, _, arm) in &line.values {
            let cells = QUANTITIES.iter().map(|(quantity, _)| {
                let of = |id: &str| found(experiment, records, id, quantity);
                match (of(&arm.id), of(&first.id)) {
                    (Ok(own), Ok(base)) if *quantity == "seconds" => {
                        Cell::Number(base.mean / own.mean, Style::Fixed(2))
                    }
                    (Ok(own), Ok(base)) if base.mean > 0.0 => {
                        Cell::Number(own.mean / base.mean, Style::Fixed(2))
                    }
                    (Ok(_), Ok(_)) => Cell::Missing("the first value gives 0".to_owned()),
                    (Err(reason), _) | (_, Err(reason)) => Cell::Missing(reason),
                }
            });
            rows.push(Row {
                head: arm.label.clone(),
                arm: Some(line_colour(colour)),
                default: arm.default,
                cells: cells.collect(),
                ..Row::default()
            });
        }
    }
    let column = |(key, title): (&str, &str)| Column {
        key: key.to_owned(),
        title: title.to_owned(),
        better: None,
    };
    Table {
        id: "relative".to_owned(),
        title: "Relative to the first value".to_owned(),
        note: "Means divided by those at the first value of each line; *speed* is the first \
               value's time ÷ the row's time."
            .to_owned(),
        corner: "Arm".to_owned(),
        columns: QUANTITIES.map(column).to_vec(),
        rows,
        ..Table::default()
    }
}

pub(super) fn figure(experiment: &Sweep, records: &Records) -> Figure {
    let lines = swept(experiment.arms());
    let parameter = match lines.as_slice() {
        [first, rest @ ..] if rest.iter().all(|line| line.setting == first.setting) => {
            experiment.spec.method.experiment.replace('-', " ")
        }
        _ => "value of the setting".to_owned(),
    };
    let place = |value: f64| (value + 1.0).log2();
    let mut ticks: Vec<(f64, String)> = Vec::new();
    for (value, ..) in lines.iter().flat_map(|line| &line.values) {
        if !ticks.iter().any(|(known, _)| *known == place(*value)) {
            ticks.push((place(*value), value.to_string()));
        }
    }
    let series = |quantity: &str| -> Vec<Series> {
        let drawn = lines.iter().enumerate().map(|(index, line)| Series {
            arm: line_colour(index),
            label: line.label.clone(),
            strong: index == 0,
            points: line
                .values
                .iter()
                .filter_map(|(value, _, arm)| {
                    let estimate = found(experiment, records, &arm.id, quantity).ok()?;
                    Some((place(*value), estimate))
                })
                .collect(),
        });
        drawn.filter(|one| !one.points.is_empty()).collect()
    };
    let highest = |quantity: &str| {
        let all = series(quantity).into_iter();
        let means = all.flat_map(|one| one.points).map(|(_, e)| e.mean);
        means.fold(1.0, f64::max)
    };
    let chart = |title: &str, quantity: &str, y: Scale| {
        LineChart {
            label: format!("{title} by {parameter}"),
            title: title.to_owned(),
            x_label: parameter.clone(),
            x_ticks: ticks.clone(),
            y,
            series: series(quantity),
        }
        .draw()
    };
    let share = Scale::Linear {
        low: 0.0,
        high: 1.0,
    };
    Figure {
        id: "sweep".to_owned(),
        title: experiment.spec.title.clone(),
        note: "Means with bootstrap 95 % intervals over texts or questions.".to_owned(),
        pictures: vec![
            chart("KL (dense ‖ arm)", "kl", Scale::log(1e-5, highest("kl"))),
            chart("Right answers", "among", share),
            chart(
                "Speed-up over dense",
                "speedup",
                Scale::Linear {
                    low: 0.0,
                    high: highest("speedup").ceil(),
                },
            ),
        ],
        columns: 2,
    }
}
