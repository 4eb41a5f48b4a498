//! The section on perplexity.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use bsbr_metrics::perplexity::{Normaliser, PerplexityConvention};

use crate::estimate::Estimate;
use crate::experiments::common::{plural, provenance};
use crate::experiments::perplexity::{Perplexity, Published, nats};
use crate::record::{Measurement, ModelInfo, Pool, Records};
use crate::reported;
use crate::section::{Block, Cell, Headline, Row, Section, Style, Table};
use crate::spec::dense;

/// How a perplexity is written.
const PERPLEXITY: Style = Style::Fixed(2);

/// How bits per byte are written.
const BITS: Style = Style::Fixed(4);

pub(super) fn section(experiment: &Perplexity, records: &Records) -> Section {
    let spec = &experiment.spec;
    let domains = records.domains();
    let blocks = domains.iter().map(|domain| {
        let published = published(experiment, records, domain);
        Block::Table(table(experiment, records, domain, published))
    });
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: Vec::new(),
        headlines: headline(experiment, records),
        blocks: blocks.collect(),
        comparisons: reported::compare(&experiment.claims, &spec.method.arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Perplexity, records: &Records) -> Vec<String> {
    let settings = &experiment.settings;
    let longest = records
        .measurements()
        .filter_map(|one| one.values.get("passage.tokens"))
        .fold(0.0f64, |most, &tokens| most.max(tokens));
    let mut paragraphs = vec![format!(
        "{longest} tokens or less from each of {} ({}), read from the beginning after one \
         end-of-text token. Every token is scored once. Figures are over all of them: the sum of negative log-likelihoods is \
         divided by the tokens, by the words of the original between white space, or by its bytes \
         in UTF-8. Each sample is a piece of {} tokens. No arm was trained after converting.",
        plural(records.domains().len() as u64, "domain"),
        records.domains().join(", "),
        settings.window
    )];
    for &stride in &settings.strides {
        let convention = PerplexityConvention::new(
            "the model's own",
            settings.window,
            stride,
            Normaliser::Token,
        );
        // The strides were checked before.
        if let Ok(convention) = convention {
            paragraphs.push(format!("Stride {stride}: {convention}."));
        }
    }
    if records
        .domains()
        .iter()
        .any(|name| name.starts_with("WikiText"))
    {
        paragraphs.push(
            "WikiText is read as people write it, without the blanks that its makers put around \
             words and signs; its words are counted with them, as they are in the files."
                .to_owned(),
        );
    }
    paragraphs
}

/// The figure that others published about the model of these records, on these texts.
fn published<'a>(
    experiment: &'a Perplexity,
    records: &Records,
    domain: &str,
) -> Option<&'a Published> {
    let model = &records.first()?.model;
    let is = |one: &&Published, model: &ModelInfo| {
        one.model == model.name
            && one.layers == model.layers
            && one.hidden_size == model.hidden_size
            && one.texts == domain
    };
    let mut all = experiment.settings.published.iter();
    all.find(|one| is(one, model))
}

fn table(
    experiment: &Perplexity,
    records: &Records,
    domain: &str,
    published: Option<&Published>,
) -> Table {
    let (arms, settings) = (&experiment.spec.method.arms, &experiment.settings);
    let from = Pool::Source(domain);
    let mut columns: Vec<String> = Vec::new();
    for stride in &settings.strides {
        columns.push(format!("per token, stride {stride}"));
    }
    for stride in &settings.strides {
        columns.push(format!("per word, stride {stride}"));
    }
    columns.push(format!("bits per byte, stride {}", settings.strides[0]));
    if published.is_some() {
        columns.push("published".to_owned());
    }
    columns.push("n".to_owned());
    let rows = arms.iter().enumerate().map(|(index, arm)| {
        let pieces: Vec<&Measurement> = records.of(&arm.id, from, settings.window).collect();
        let found = |stride: usize, unit: Unit| {
            let none = || {
                records
                    .estimate(&arm.id, from, settings.window, &nats(stride))
                    .err()
                    .unwrap_or_else(|| "not measured yet".to_owned())
            };
            figure(&pieces, stride, unit).ok_or_else(none)
        };
        let mut cells: Vec<Cell> = Vec::new();
        for unit in [Unit::Token, Unit::Word] {
            let strides = settings.strides.iter();
            cells.extend(strides.map(|&stride| Cell::of(found(stride, unit), PERPLEXITY)));
        }
        let first = found(settings.strides[0], Unit::Byte);
        let count = Cell::count(&first);
        cells.push(Cell::of(first, BITS));
        if let Some(published) = published {
            let own = dense(arms).is_some_and(|dense| dense.id == arm.id);
            cells.push(match own {
                true => Cell::Number(published.value, PERPLEXITY),
                false => Cell::Missing("it is a figure of the dense model".to_owned()),
            });
        }
        cells.push(count);
        Row {
            head: arm.label.clone(),
            arm: Some(index),
            strong: arm.default,
            cells,
        }
    });
    let beside = published.map(|one| {
        format!(
            " Published: {}, which divides by the units of the dataset and names neither window nor \
             stride; so compare it with each of ours, and with none to the last digit.",
            one.source
        )
    });
    Table {
        title: format!("Perplexity on {domain}"),
        note: format!(
            "Lower is better. Intervals are bootstrap 95 % over pieces.{}",
            beside.unwrap_or_default()
        ),
        corner: "Arm".to_owned(),
        columns,
        rows: rows.collect(),
        folded: false,
    }
}

/// By what a sum of nats is divided.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Token,
    Word,
    Byte,
}

/// Perplexity, or bits, over all pieces of one passage; `None` where none was measured.
fn figure(pieces: &[&Measurement], stride: usize, unit: Unit) -> Option<Estimate> {
    let name = nats(stride);
    let measured = pieces.iter().filter_map(|one| {
        let value = |name: &str| one.values.get(name).copied();
        Some((value(&name)?, value("tokens")?, *one))
    });
    let measured: Vec<_> = measured.collect();
    let (_, _, first) = measured.first()?;
    let of = |name: &str| first.values.get(name).copied();
    // Words and bytes of the part of the passage that was measured, which is all of it in the end.
    let share = match unit {
        Unit::Token => 1.0,
        Unit::Word => of("passage.tokens")? / of("passage.words")?,
        Unit::Byte => of("passage.tokens")? / of("passage.bytes")?,
    };
    let mean = mean_nats(measured.iter().map(|&(nats, tokens, _)| (nats, tokens)))?;
    Some(match unit {
        Unit::Token | Unit::Word => exponential(mean.scaled(share)),
        Unit::Byte => Estimate {
            std: None,
            ..mean.scaled(share / LN_2)
        },
    })
}

/// The mean of a token over pieces, of which the last may be shorter than the others.
fn mean_nats(pieces: impl Iterator<Item = (f64, f64)>) -> Option<Estimate> {
    let pieces: Vec<(f64, f64)> = pieces.collect();
    let tokens: f64 = pieces.iter().map(|piece| piece.1).sum();
    let share = pieces.len() as f64 / tokens;
    let values: Vec<f64> = pieces.iter().map(|piece| piece.0 * share).collect();
    Estimate::of(&values)
}

/// An exponential has the exponentials of an interval's ends as its own; not so the deviation.
fn exponential(mut estimate: Estimate) -> Estimate {
    estimate.mean = estimate.mean.exp();
    estimate.std = None;
    if let Some(interval) = &mut estimate.interval {
        interval.low = interval.low.exp();
        interval.high = interval.high.exp();
    }
    estimate
}

fn headline(experiment: &Perplexity, records: &Records) -> Vec<Headline> {
    let window = experiment.settings.window;
    let Some(&stride) = experiment.settings.strides.first() else {
        return Vec::new();
    };
    let cells: BTreeMap<String, Cell> = experiment
        .spec
        .method
        .arms
        .iter()
        .map(|arm| {
            let pieces: Vec<&Measurement> = records.of(&arm.id, Pool::Texts, window).collect();
            let found = figure(&pieces, stride, Unit::Token);
            let found = found.ok_or_else(|| "not measured yet".to_owned());
            (arm.id.clone(), Cell::of(found, PERPLEXITY))
        })
        .collect();
    vec![Headline {
        title: "perplexity".to_owned(),
        note: format!("per token, windows of {window} tokens, stride {stride}, all domains"),
        cells,
    }]
}

#[cfg(test)]
mod tests {
    use super::{Unit, figure};
    use crate::experiments::perplexity::nats;
    use crate::record::Measurement;

    #[test]
    fn figures_are_over_all_tokens_not_means_of_pieces() {
        // 6 nats over 4 tokens, then 1 nat over 1 token, of 10 words and 25 bytes.
        let piece = |index, sum: f64, tokens: f64| {
            let mut one = Measurement::new("dense", "text", 4, index);
            one.set(nats(4), sum);
            one.set("tokens", tokens);
            one.set("passage.tokens", 5.0);
            one.set("passage.words", 10.0);
            one.set("passage.bytes", 25.0);
            one
        };
        let (first, last) = (piece(0, 6.0, 4.0), piece(1, 1.0, 1.0));
        let found = |unit| figure(&[&first, &last], 4, unit).unwrap().mean;
        assert!((found(Unit::Token) - (7.0f64 / 5.0).exp()).abs() < 1e-9);
        assert!((found(Unit::Word) - (7.0f64 / 10.0).exp()).abs() < 1e-9);
        assert!((found(Unit::Byte) - 7.0 / 25.0 / 2.0f64.ln()).abs() < 1e-9);
        assert!(figure(&[], 4, Unit::Token).is_none());
        assert!(figure(&[&first], 2, Unit::Token).is_none());
    }
}
