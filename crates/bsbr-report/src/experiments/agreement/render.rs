//! The section on next-token agreement.

use crate::experiments::agreement::Agreement;
use crate::experiments::common::{Column, by_arm, headline, plural, provenance, verdicts};
use crate::record::{Pool, Records};
use crate::render::chart::{Bar, bars};
use crate::reported;
use crate::section::{Block, Figure, Section, Style, Table};

fn style(quantity: &str) -> Style {
    match quantity.rsplit('.').next() {
        Some("cosine") => Style::Fixed(5),
        Some("kl") => Style::Digits(3),
        _ => Style::Percent(2),
    }
}

pub(super) fn section(experiment: &Agreement, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let length = experiment.settings.length;
    let column = |title: &str, quantity: &str| Column {
        title: title.to_owned(),
        from: Pool::Texts,
        length,
        quantity: quantity.to_owned(),
        style: style(quantity),
    };
    let columns = |prefix: &str| {
        [
            ("top-1", "top1"),
            ("top-5 overlap", "top5"),
            ("top-10 overlap", "top10"),
            ("KL (dense ‖ arm), nats", "kl"),
            ("cosine, final hidden states", "cosine"),
        ]
        .map(|(title, quantity)| column(title, &format!("{prefix}{quantity}")))
    };
    let all = by_arm(
        "All positions, all domains",
        "Top-k overlap is the share of the dense model's k likeliest tokens that are among the \
         arm's k likeliest. KL is KL(dense ‖ arm) in nats per position. Each sample is a text.",
        arms,
        records,
        &columns(""),
    );
    let tail = by_arm(
        format!(
            "The last quarter of positions, {} on",
            length - length.div_ceil(4)
        ),
        "Where most of what a token sees is far.",
        arms,
        records,
        &columns("tail."),
    );
    let mut blocks = vec![
        Block::Table(all),
        Block::Table(tail),
        Block::Figure(figure(experiment, records)),
    ];
    for (quantity, title) in [
        ("top1", "Top-1 agreement by domain"),
        ("top5", "Top-5 overlap by domain"),
        ("top10", "Top-10 overlap by domain"),
        ("kl", "KL (dense ‖ arm) by domain, nats per position"),
    ] {
        blocks.push(Block::Table(by_domain(
            experiment, records, quantity, title,
        )));
    }
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: vec![format!(
            "{} of {length} tokens from each of {} domains ({}). At every position the dense \
             model and the arm rank the whole vocabulary after reading the same tokens; equal logits \
             are ranked by lower id. Nothing is sampled and nothing was trained after converting.",
            plural(experiment.counts.texts_per_domain, "text"),
            records.domains().len(),
            records.domains().join(", "),
        )],
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![headline(
            "top-1",
            &format!("share of positions with the same likeliest token, texts of {length} tokens"),
            arms,
            records,
            &column("", "top1"),
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn by_domain(experiment: &Agreement, records: &Records, quantity: &str, title: &str) -> Table {
    let columns: Vec<Column<'_>> = records
        .domains()
        .into_iter()
        .map(|domain| Column {
            title: domain.to_owned(),
            from: Pool::Source(domain),
            length: experiment.settings.length,
            quantity: quantity.to_owned(),
            style: style(quantity),
        })
        .collect();
    let arms = &experiment.spec.method.arms;
    let mut table = by_arm(title, "n is that of each domain.", arms, records, &columns);
    table.folded = quantity != "top1";
    table
}

fn figure(experiment: &Agreement, records: &Records) -> Figure {
    let length = experiment.settings.length;
    let chart = |title: &str, from: Pool<'_>| {
        let arms = experiment.spec.method.arms.iter().enumerate();
        let all: Vec<Bar> = arms
            .map(|(index, arm)| Bar {
                arm: Some(index),
                label: arm.label.clone(),
                strong: arm.default,
                value: records.estimate(&arm.id, from, length, "top1"),
            })
            .collect();
        let label = format!("Top-1 agreement in percent, {title}, a bar for each arm");
        bars(title, &label, &all, 1.0, Style::Percent(2))
    };
    let mut pictures = vec![chart("all domains", Pool::Texts)];
    for domain in records.domains() {
        pictures.push(chart(domain, Pool::Source(domain)));
    }
    Figure {
        id: "domains".to_owned(),
        title: "Top-1 agreement by domain".to_owned(),
        note: "Percent of positions, all positions; whiskers are bootstrap 95 % intervals over \
               texts."
            .to_owned(),
        pictures,
        columns: 2,
    }
}
