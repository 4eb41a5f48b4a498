//! The section on hidden states and logits.

use crate::experiments::common::{
    self, Column, by_arm, greatest, headline, listed, plural, provenance, verdicts,
};
use crate::experiments::similarity::{Similarity, layer_names};
use crate::record::{Pool, RANDOM, Records};
use crate::render::chart::{LineChart, Series};
use crate::render::scale::Scale;
use crate::reported;
use crate::section::{Block, Figure, Section, Style};

/// KL below this is drawn on the floor of a chart.
const KL_FLOOR: f64 = 1e-6;

/// Nines of the cosine's axis.
const NINES: u32 = 5;

/// How a quantity is written.
fn style(quantity: &str) -> Style {
    match quantity.rsplit('.').next() {
        Some("cosine") => Style::Fixed(5),
        Some("top1") => Style::Percent(2),
        _ => Style::Digits(3),
    }
}

pub(super) fn section(experiment: &Similarity, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let length = experiment
        .settings
        .text_lengths
        .first()
        .copied()
        .unwrap_or(0);
    let column = |title: &str, quantity: &str| Column {
        title: title.to_owned(),
        from: Pool::Texts,
        length,
        quantity: quantity.to_owned(),
        style: style(quantity),
    };
    let overview = by_arm(
        format!("Final hidden states and logits, texts of {length} tokens"),
        "Hidden states after the last norm; MSE relative to the dense state's mean square. KL is \
         KL(dense ‖ arm) in nats per position. Each sample is a text, its value the mean over all \
         of its positions.",
        arms,
        records,
        &[
            column("cosine", "final.cosine"),
            column("relative MSE", "final.relative_mse"),
            column("MSE", "final.mse"),
            column("KL (dense ‖ arm), nats", "logits.kl"),
            column("cosine of logits", "logits.cosine"),
            column("top-1 agreement", "logits.top1"),
        ],
    );
    let mut blocks = vec![Block::Table(overview)];
    blocks.push(Block::Figure(charts(experiment, records, length)));
    let layers = layer_names(records);
    for (quantity, title) in [
        ("cosine", "Cosine by layer"),
        ("relative_mse", "Relative MSE by layer"),
        ("mse", "MSE by layer"),
    ] {
        let columns: Vec<Column<'_>> = layers
            .iter()
            .map(|(number, name)| column(name, &format!("hidden.{number}.{quantity}")))
            .collect();
        let note = "The residual stream after each block; the last after the final norm.";
        let mut table = by_arm(title, note, arms, records, &columns);
        table.folded = quantity != "cosine";
        blocks.push(Block::Table(table));
    }
    for &length in &experiment.settings.text_lengths {
        blocks.extend(by_position(experiment, records, length));
    }
    blocks.extend(by_rarity(experiment, records, length));
    blocks.extend(random(experiment, records));

    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![
            headline(
                "cosine",
                &format!("final hidden states, texts of {length} tokens"),
                arms,
                records,
                &column("", "final.cosine"),
            ),
            headline(
                "KL",
                &format!("KL(dense ‖ arm) in nats per position, texts of {length} tokens"),
                arms,
                records,
                &column("", "logits.kl"),
            ),
        ],
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Similarity, records: &Records) -> Vec<String> {
    let (settings, counts) = (&experiment.settings, &experiment.counts);
    let domains = records.domains().join(", ");
    vec![
        format!(
            "The dense model and each arm read the same tokens: {} of each domain ({domains}) \
             with {} tokens, and {} of ids drawn evenly from the vocabulary for each length of \
             {} tokens. Hidden states are compared position by position and layer by layer, logits over \
             the whole vocabulary.",
            plural(counts.texts_per_domain, "text"),
            listed(&settings.text_lengths),
            plural(counts.random_sequences, "sequence"),
            listed(&settings.random_lengths),
        ),
        format!(
            "Positions are averaged in runs of {}. Tokens are divided by rarity into {} parts of \
             running text: the first holds the most frequent tokens of {} tokens of training text, \
             the last the rarest and those that it lacks; each part covers about the same share of \
             positions.",
            settings.position_bin,
            settings.rarity_quantiles,
            grouped(counts.rarity_tokens),
        ),
    ]
}

fn charts(experiment: &Similarity, records: &Records, length: usize) -> Figure {
    let layers: Vec<String> = layer_names(records).into_keys().collect();
    let by_layer = lines(experiment, |arm| {
        let points = layers.iter().enumerate().map(|(index, number)| {
            let quantity = format!("hidden.{number}.cosine");
            Some((
                index as f64,
                records.estimate(arm, Pool::Texts, length, &quantity).ok()?,
            ))
        });
        points.flatten().collect()
    });
    let cosine = LineChart {
        label: "Cosine of hidden states by layer, a line for each arm".to_owned(),
        title: "Cosine of hidden states by layer".to_owned(),
        x_label: "0: embeddings, then after each block; last: final norm".to_owned(),
        x_ticks: (0..layers.len())
            .step_by(layers.len().div_ceil(8).max(1))
            .map(|index| (index as f64, index.to_string()))
            .collect(),
        y: Scale::Nines { most: NINES },
        series: by_layer,
    };
    let mut pictures = vec![
        kl_by_position(experiment, records, length).draw(),
        cosine.draw(),
    ];
    if experiment.settings.random_lengths.len() > 1 {
        pictures.push(kl_by_length(experiment, records).draw());
    }
    Figure {
        id: "lines".to_owned(),
        title: "Where arms and dense model part".to_owned(),
        note: format!(
            "KL(dense ‖ arm) in nats per position, on a logarithmic axis that ends at 10⁻⁶; \
             cosines on an axis of nines that ends at 0.{}. Bands are bootstrap 95 % intervals over \
             samples. Within the near field an arm with sinks is exact.",
            "9".repeat(NINES as usize)
        ),
        pictures,
        columns: 2,
    }
}

fn kl_by_position(experiment: &Similarity, records: &Records, length: usize) -> LineChart {
    let bin = experiment.settings.position_bin;
    let starts: Vec<usize> = (0..length).step_by(bin).collect();
    let series = lines(experiment, |arm| {
        let points = starts.iter().map(|&start| {
            let quantity = format!("position.{start:05}.kl");
            let middle = start as f64 + bin.min(length - start) as f64 / 2.0;
            Some((
                middle,
                records.estimate(arm, Pool::Texts, length, &quantity).ok()?,
            ))
        });
        points.flatten().collect()
    });
    let step = (length / 4).max(1);
    LineChart {
        label: "KL by position, a line for each arm".to_owned(),
        title: "KL by position, texts".to_owned(),
        x_label: "position".to_owned(),
        x_ticks: (step..=length)
            .step_by(step)
            .filter(|&at| at < length)
            .map(|at| (at as f64, at.to_string()))
            .collect(),
        y: Scale::log(KL_FLOOR, greatest(&series)),
        series,
    }
}

fn kl_by_length(experiment: &Similarity, records: &Records) -> LineChart {
    let lengths = &experiment.settings.random_lengths;
    let series = lines(experiment, |arm| {
        let points = lengths.iter().map(|&length| {
            let found = records.estimate(arm, Pool::Source(RANDOM), length, "logits.kl");
            Some(((length as f64).log2(), found.ok()?))
        });
        points.flatten().collect()
    });
    LineChart {
        label: "KL on random ids by length, a line for each arm".to_owned(),
        title: "KL by length, random ids".to_owned(),
        x_label: "tokens".to_owned(),
        x_ticks: lengths
            .iter()
            .map(|&length| ((length as f64).log2(), length.to_string()))
            .collect(),
        y: Scale::log(KL_FLOOR, greatest(&series)),
        series,
    }
}

/// A line for each arm but the dense one, whose line would be the axis.
fn lines(
    experiment: &Similarity,
    points: impl Fn(&str) -> Vec<(f64, crate::estimate::Estimate)>,
) -> Vec<Series> {
    let arms = &experiment.spec.method.arms;
    let is_dense = |arm: usize| arms[arm].config.chunk_size().is_none();
    let mut series = common::lines(arms, points);
    series.retain(|one| !is_dense(one.arm));
    series
}

fn by_position(experiment: &Similarity, records: &Records, length: usize) -> Vec<Block> {
    let bin = experiment.settings.position_bin;
    ["kl", "cosine"]
        .iter()
        .map(|quantity| {
            // Long texts have many bins; a table shows at most sixteen of them.
            let starts: Vec<usize> = (0..length).step_by(bin).collect();
            let columns: Vec<Column<'_>> = starts
                .iter()
                .step_by(starts.len().div_ceil(16).max(1))
                .map(|&start| Column {
                    title: format!("{start}–{}", (start + bin).min(length) - 1),
                    from: Pool::Texts,
                    length,
                    quantity: format!("position.{start:05}.{quantity}"),
                    style: style(quantity),
                })
                .collect();
            let title = match *quantity {
                "kl" => format!("KL (dense ‖ arm) by position, texts of {length} tokens"),
                _ => format!("Cosine of final hidden states by position, texts of {length} tokens"),
            };
            let arms = &experiment.spec.method.arms;
            let mut table = by_arm(title, "", arms, records, &columns);
            table.folded = true;
            Block::Table(table)
        })
        .collect()
}

fn by_rarity(experiment: &Similarity, records: &Records, length: usize) -> Vec<Block> {
    let parts = experiment.settings.rarity_quantiles;
    ["kl", "cosine"]
        .iter()
        .map(|quantity| {
            let columns: Vec<Column<'_>> = (0..parts)
                .map(|part| Column {
                    title: match part {
                        0 => "most frequent".to_owned(),
                        part if part + 1 == parts => "rarest".to_owned(),
                        part => format!("part {} of {parts}", part + 1),
                    },
                    from: Pool::Texts,
                    length,
                    quantity: format!("rarity.{part}.{quantity}"),
                    style: style(quantity),
                })
                .collect();
            let title = match *quantity {
                "kl" => "KL (dense ‖ arm) by the token's rarity",
                _ => "Cosine of final hidden states by the token's rarity",
            };
            let arms = &experiment.spec.method.arms;
            Block::Table(by_arm(title, "", arms, records, &columns))
        })
        .collect()
}

fn random(experiment: &Similarity, records: &Records) -> Vec<Block> {
    ["logits.kl", "final.cosine", "logits.top1"]
        .iter()
        .map(|quantity| {
            let columns: Vec<Column<'_>> = experiment
                .settings
                .random_lengths
                .iter()
                .map(|&length| Column {
                    title: format!("{length} tokens"),
                    from: Pool::Source(RANDOM),
                    length,
                    quantity: (*quantity).to_owned(),
                    style: style(quantity),
                })
                .collect();
            let title = match *quantity {
                "logits.kl" => "Random ids: KL (dense ‖ arm) by length",
                "final.cosine" => "Random ids: cosine of final hidden states by length",
                _ => "Random ids: top-1 agreement by length",
            };
            let arms = &experiment.spec.method.arms;
            Block::Table(by_arm(title, "", arms, records, &columns))
        })
        .collect()
}

/// 200000 as 200,000.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}
