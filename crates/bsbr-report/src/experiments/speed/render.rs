//! The section on inference time.

use bsbr_metrics::stats::quantile;

use crate::estimate::Estimate;
use crate::experiments::common::{
    Column, by_arm, dense_place, extension_words, headline, lines, plural, provenance,
    short_length, verdicts,
};
use crate::experiments::growth_table::{Curve, growth_table};
use crate::experiments::speed::{ATTENTION, MODEL, Speed};
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale::Scale;
use crate::reported;
use crate::section::{Block, Cell, Figure, Row, Section, Style, Table};
use crate::spec::ArmSpec;

/// Both things that are timed, in words.
const SCOPES: [(&str, &str); 2] = [(MODEL, "the whole model"), (ATTENTION, "attention alone")];

const SPEEDUP: Style = Style::Fixed(2);

pub(super) fn section(experiment: &Speed, records: &Records) -> Section {
    let spec = &experiment.spec;
    let rows = experiment.rows();
    let longest = experiment.settings.lengths.iter().copied().max();
    let longest = longest.unwrap_or_default();
    let mut blocks = vec![Block::Figure(figure(experiment, records, &rows))];
    for (scope, words) in SCOPES {
        blocks.push(Block::Table(times(
            experiment, records, &rows, scope, words,
        )));
        blocks.push(Block::Table(speedups(
            experiment, records, &rows, scope, words,
        )));
    }
    let curves = SCOPES.map(|(scope, words)| Curve {
        title: words.to_owned(),
        predicted: scope == ATTENTION,
        levels: Box::new(move |id| records.levels(id, Pool::Source(scope), "seconds")),
    });
    blocks.push(Block::Table(growth_table(
        "Time: growth and crossover",
        "time",
        &rows,
        &curves,
        experiment.settings.fit_from,
        longest,
        records,
    )));
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |_| SPEEDUP),
        headlines: vec![headline(
            "speed-up",
            &format!("time of the dense model in the same round ÷ own, {longest} tokens"),
            &spec.method.arms,
            records,
            &Column {
                title: String::new(),
                from: Pool::Source(MODEL),
                length: longest,
                quantity: "speedup".to_owned(),
                style: SPEEDUP,
            },
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, &spec.method.arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Speed, records: &Records) -> Vec<String> {
    let (settings, counts) = (&experiment.settings, &experiment.counts);
    let mut paragraphs = vec![format!(
        "{} of each row at each length, batch 1, after one that is not timed; of what takes longer \
         than {:.0} s, {}. The rows take turns in rounds, each goes first once, and a speed-up \
         compares the two of one round. *{MODEL}* is a forward pass to the logits of the last \
         token, without a cache, on random ids; *{ATTENTION}* is one layer's attention from random \
         queries, keys and values to its output, building summaries included. `dense` is the \
         fastest exact attention there is on this backend.",
        plural(counts.runs, "timed run"),
        settings.slow_seconds,
        plural(counts.slow_runs.min(counts.runs), "run"),
    )];
    match settings.baselines.is_empty() {
        true => paragraphs.push(
            "PyTorch was not asked for; `--baseline torch` times it in the same rounds.".to_owned(),
        ),
        false => paragraphs.push(
            "PyTorch runs the same shapes with random weights on the CPU, with as many threads, in \
             a process of its own that waits while others run."
                .to_owned(),
        ),
    }
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}

/// Seconds of every round.
fn samples(records: &Records, id: &str, scope: &str, length: usize) -> Vec<f64> {
    records
        .of(id, Pool::Source(scope), length)
        .filter_map(|one| one.values.get("seconds").copied())
        .collect()
}

/// Medians with quartiles, and the mean where there is room.
fn times(
    experiment: &Speed,
    records: &Records,
    rows: &[ArmSpec],
    scope: &str,
    words: &str,
) -> Table {
    let lengths = &experiment.settings.lengths;
    let cell = |id: &str, length: usize| {
        let ms: Vec<f64> = samples(records, id, scope, length)
            .iter()
            .map(|seconds| seconds * 1e3)
            .collect();
        let at = |q| quantile(&ms, q).ok();
        match (at(0.5), at(0.25), at(0.75), Estimate::of(&ms)) {
            (Some(median), Some(low), Some(high), Some(all)) => {
                let style = Style::Digits(3);
                Cell::Spread(
                    style.number(median),
                    format!(
                        "[{}, {}] · {}",
                        style.beside(low, median),
                        style.beside(high, median),
                        style.number(all.mean)
                    ),
                )
            }
            _ => {
                let reason = records.estimate(id, Pool::Source(scope), length, "seconds");
                Cell::Missing(reason.err().unwrap_or_default())
            }
        }
    };
    Table {
        title: format!("Time of {words}, by length"),
        note: "Milliseconds: median [quartiles] · mean. Absolute times are this machine's; the \
               ratios below are what carries over."
            .to_owned(),
        corner: "Arm".to_owned(),
        columns: lengths.iter().map(|n| format!("{n} tokens")).collect(),
        rows: rows
            .iter()
            .enumerate()
            .map(|(index, row)| Row {
                head: row.label.clone(),
                arm: Some(index),
                strong: row.default,
                cells: lengths.iter().map(|&n| cell(&row.id, n)).collect(),
            })
            .collect(),
        folded: false,
    }
}

fn speedups(
    experiment: &Speed,
    records: &Records,
    rows: &[ArmSpec],
    scope: &str,
    words: &str,
) -> Table {
    let lengths = experiment.settings.lengths.iter();
    let columns: Vec<Column<'_>> = lengths
        .map(|&length| Column {
            title: format!("{length} tokens"),
            from: Pool::Source(scope),
            length,
            quantity: "speedup".to_owned(),
            style: SPEEDUP,
        })
        .collect();
    by_arm(
        format!("Time of {words}: speed-up over dense"),
        "Time of `dense` in the same round divided by the row's own; above 1 is faster.",
        rows,
        records,
        &columns,
    )
}

fn figure(experiment: &Speed, records: &Records, rows: &[ArmSpec]) -> Figure {
    let lengths = &experiment.settings.lengths;
    let ticks: Vec<(f64, String)> = lengths
        .iter()
        .map(|&length| ((length as f64).log2(), short_length(length)))
        .collect();
    let chart =
        |title: String, scope: &'static str, quantity: &str, scale: &dyn Fn(f64, f64) -> Scale| {
            let series = lines(rows, |arm| {
                let points = lengths.iter().map(|&length| {
                    let found = records.estimate(arm, Pool::Source(scope), length, quantity);
                    Some(((length as f64).log2(), found.ok()?))
                });
                points.flatten().collect()
            });
            let all = series.iter().flat_map(|one| &one.points);
            let (low, high) = all.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), (_, e)| {
                (low.min(e.mean), high.max(e.mean))
            });
            LineChart {
                label: format!("{title}, a line for each row"),
                title,
                x_label: "tokens".to_owned(),
                x_ticks: ticks.clone(),
                y: scale(low.min(high), high),
                series,
            }
            .draw()
        };
    let decades = |low: f64, high: f64| Scale::log(10f64.powf(low.log10().floor()), high);
    let mut pictures = Vec::new();
    for (scope, words) in SCOPES {
        pictures.push(chart(
            format!("Seconds, {words}"),
            scope,
            "seconds",
            &decades,
        ));
        if dense_place(rows).is_some() {
            pictures.push(chart(
                format!("Speed-up, {words}"),
                scope,
                "speedup",
                &|_, high| Scale::Linear {
                    low: 0.0,
                    high: high.max(1.0).ceil(),
                },
            ));
        }
    }
    Figure {
        id: "time".to_owned(),
        title: "Time by length".to_owned(),
        note: "Means over rounds, with bootstrap 95 % intervals. On the left both axes are \
               logarithmic: n² is twice as steep as n."
            .to_owned(),
        pictures,
        columns: 2,
    }
}
