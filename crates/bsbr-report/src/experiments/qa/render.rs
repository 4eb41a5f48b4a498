//! The section on long-context questions.

use crate::experiments::common::{
    Column, by_arm, extension_words, headline, lines, plural, provenance, verdicts,
};
use crate::experiments::qa::{Qa, SOURCE};
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale::Scale;
use crate::reported;
use crate::section::{Block, Figure, Section, Style, Table};

fn style(quantity: &str) -> Style {
    match quantity {
        "seconds" => Style::Digits(3),
        "distance" | "tokens" => Style::Fixed(0),
        _ => Style::Percent(1),
    }
}

pub(super) fn section(experiment: &Qa, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let farthest = experiment.settings.distances.iter().copied().max();
    let farthest = farthest.unwrap_or_default();
    let headlines = [("right answers", "among"), ("exact answers", "exact")];
    let blocks = vec![
        Block::Table(by_distance(
            experiment,
            records,
            "among",
            "Right among candidates, by distance",
            "Share of questions whose right answer the arm finds the likeliest of all candidates, a \
             candidate's likelihood being that of all of its tokens.",
        )),
        Block::Table(by_distance(
            experiment,
            records,
            "exact",
            "Exact answers, by distance",
            "Share of questions where the most probable tokens of the whole vocabulary spell the \
             answer.",
        )),
        Block::Figure(figure(experiment, records)),
        Block::Table(by_distance(
            experiment,
            records,
            "among.minus_dense",
            "Right among candidates beside dense, by distance",
            "The arm minus the dense model on the same question, in points; 0 where both are right \
             or both wrong.",
        )),
        Block::Table(by_distance(
            experiment,
            records,
            "exact.minus_dense",
            "Exact answers beside dense, by distance",
            "The same for exact answers.",
        )),
        Block::Table(by_distance(
            experiment,
            records,
            "share",
            "Probability of the right answer among candidates, by distance",
            "Its share of the probability of all candidates.",
        )),
        Block::Table(by_distance(
            experiment,
            records,
            "seconds",
            "Time per question, by distance",
            "Seconds to read the document and answer, in one pass without a cache where every \
             candidate is one token; arms take turns on each question.",
        )),
    ];
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: headlines
            .map(|(title, quantity)| {
                let column = column("", farthest, quantity);
                let note = format!("share of questions about facts {farthest} tokens back or more");
                headline(title, &note, arms, records, &column)
            })
            .to_vec(),
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Qa, records: &Records) -> Vec<String> {
    let settings = &experiment.settings;
    let first = experiment.spec.method.arms.first();
    let reached: Vec<String> = settings
        .distances
        .iter()
        .filter_map(|&length| {
            let found = |quantity| {
                records
                    .estimate(&first?.id, Pool::Source(SOURCE), length, quantity)
                    .ok()
            };
            let (distance, tokens) = (found("distance")?, found("tokens")?);
            Some(format!(
                "≥ {length}: {:.0} tokens on average, in documents of {:.0}",
                distance.mean, tokens.mean
            ))
        })
        .collect();
    let mut paragraphs = vec![format!(
        "{} at each distance, from storybook's test split: documents that state facts about many \
         people and later ask for one of them, with {} candidates of the same kind, so that chance \
         is {:.1} %. A distance counts the tokens from the fact to the question. No arm was trained \
         after converting, and `local` is the control: what it finds, it finds without the fact.",
        plural(experiment.counts.questions, "question"),
        settings.candidates,
        100.0 / settings.candidates as f64,
    )];
    if !reached.is_empty() {
        paragraphs.push(format!("Distances reached: {}.", reached.join("; ")));
    }
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}

fn column(title: &str, length: usize, quantity: &str) -> Column<'static> {
    Column {
        title: title.to_owned(),
        from: Pool::Source(SOURCE),
        length,
        quantity: quantity.to_owned(),
        style: style(quantity),
    }
}

fn by_distance(
    experiment: &Qa,
    records: &Records,
    quantity: &str,
    title: &str,
    note: &str,
) -> Table {
    let distances = experiment.settings.distances.iter();
    let columns: Vec<Column<'_>> = distances
        .map(|&length| column(&format!("≥ {length} tokens"), length, quantity))
        .collect();
    let mut table = by_arm(title, note, &experiment.spec.method.arms, records, &columns);
    table.folded = quantity == "share";
    table
}

fn figure(experiment: &Qa, records: &Records) -> Figure {
    let distances = &experiment.settings.distances;
    let chart = |title: &str, quantity: &str| {
        let series = lines(&experiment.spec.method.arms, |arm| {
            let points = distances.iter().map(|&length| {
                let found = records.estimate(arm, Pool::Source(SOURCE), length, quantity);
                Some(((length.max(1) as f64).log2(), found.ok()?))
            });
            points.flatten().collect()
        });
        LineChart {
            label: format!("{title}, a line for each arm"),
            title: title.to_owned(),
            x_label: "tokens between fact and question, at least".to_owned(),
            x_ticks: distances
                .iter()
                .map(|&length| ((length.max(1) as f64).log2(), length.to_string()))
                .collect(),
            y: Scale::Linear {
                low: 0.0,
                high: 1.0,
            },
            series,
        }
        .draw()
    };
    Figure {
        id: "distance".to_owned(),
        title: "Answers by distance".to_owned(),
        note: "Shares of questions; bands are bootstrap 95 % intervals over questions.".to_owned(),
        pictures: vec![
            chart("Right among candidates", "among"),
            chart("Exact answers", "exact"),
        ],
        columns: 2,
    }
}
