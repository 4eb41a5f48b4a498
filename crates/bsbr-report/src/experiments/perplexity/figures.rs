//! Perplexities over all tokens of a text.

use std::f64::consts::LN_2;

use crate::estimate::Estimate;
use crate::experiments::perplexity::{Perplexity, Published, nats};
use crate::experiments::prelude::*;
use crate::section::Better;

/// The format of perplexities.
const PERPLEXITY: Style = Style::Fixed(2);

/// The format of bits per byte.
const BITS: Style = Style::Fixed(4);

/// The values of template names.
pub(super) fn word(experiment: &Perplexity, name: &str, records: &Records) -> Option<String> {
    let settings = &experiment.settings;
    Some(match name {
        "tokens" => {
            let domains = records.domains().into_iter();
            let read = domains.map(|domain| read(experiment, records, domain));
            grouped(read.fold(0.0, f64::max) as u64)
        }
        "strides" => {
            let words = |&stride: &usize| match settings.window - stride {
                0 => format!("Stride {}: windows do not overlap.", grouped(stride as u64)),
                before => format!(
                    "Stride {}: a token follows at least {} others.",
                    grouped(stride as u64),
                    grouped(before as u64)
                ),
            };
            Vec::from_iter(settings.strides.iter().map(words)).join(" ")
        }
        "wikitext" => {
            let mut domains = records.domains().into_iter();
            let note = " WikiText is read as ordinary text, without the blanks that the dataset \
                        puts around words and punctuation. Its words are counted with these \
                        blanks, as in the files.";
            match domains.any(|name| name.starts_with("WikiText")) {
                true => note.to_owned(),
                false => String::new(),
            }
        }
        _ => return None,
    })
}

/// The number of tokens of a domain that the first arm read.
fn read(experiment: &Perplexity, records: &Records, domain: &str) -> f64 {
    let arm = experiment.arms().first().map_or("", |arm| arm.id.as_str());
    let from = Pool::Source(domain);
    let tokens = records.values(arm, from, experiment.settings.window, "tokens");
    tokens.into_iter().sum()
}

/// The published figure for the model of these records on these texts, if all texts were read.
fn published<'a>(
    experiment: &'a Perplexity,
    records: &Records,
    domain: &str,
) -> Option<&'a Published> {
    let model = &records.first()?.model;
    let is = |one: &&Published| {
        let shape = (one.layers, one.hidden_size) == (model.layers, model.hidden_size);
        shape && one.model == model.name && one.texts == domain
    };
    let mut pieces = records.measurements().filter(|one| one.source == domain);
    let all = pieces.next()?.values.get("passage.tokens").copied();
    let whole = all == Some(read(experiment, records, domain));
    experiment
        .settings
        .published
        .iter()
        .find(is)
        .filter(|_| whole)
}

pub(super) fn table(experiment: &Perplexity, records: &Records, domain: &str) -> Table {
    let (arms, settings) = (experiment.arms(), &experiment.settings);
    let published = published(experiment, records, domain);
    let from = Pool::Source(domain);
    let less = |title: String| Column {
        better: Some(Better::Less),
        ..Column::from(title)
    };
    let first = settings.strides[0];
    let of = |unit: &'static str| {
        let strides = settings.strides.iter();
        strides.map(move |&stride| less(format!("per {unit}, stride {}", grouped(stride as u64))))
    };
    let mut columns: Vec<Column> = of("token").chain(of("word")).collect();
    columns.push(less(format!(
        "bits per byte, stride {}",
        grouped(first as u64)
    )));
    columns.extend(published.map(|_| Column::from("published")));
    columns.push(Column::from("n"));
    let rows = Subject::arms(arms).into_iter().map(|arm| {
        let pieces: Vec<&Measurement> = records.of(&arm.id, from, settings.window).collect();
        let found = |stride: usize, unit: &str| {
            records.estimate(&arm.id, from, settings.window, &nats(stride))?;
            figure(&pieces, stride, unit)
        };
        let mut cells: Vec<Cell> = Vec::new();
        for unit in ["tokens", "words"] {
            let strides = settings.strides.iter();
            cells.extend(strides.map(|&stride| Cell::of(found(stride, unit), PERPLEXITY)));
        }
        let bits = found(first, "bytes");
        let count = bits.as_ref().map_or(0, |found| found.n);
        cells.push(Cell::of(bits, BITS));
        cells.extend(
            published.map(|one| match experiment.dense() == Some(arm.id.as_str()) {
                true => Cell::Number(one.value, PERPLEXITY),
                false => Cell::Missing("published only for the dense model".to_owned()),
            }),
        );
        cells.push(Cell::Number(count as f64, Style::Fixed(0)));
        arm.row(cells)
    });
    let beside = published.map(|one| {
        format!(
            " Published: {}. It divides by the units of the dataset and states neither window nor \
             stride, so compare it only roughly with any of ours.",
            one.source
        )
    });
    Table {
        title: format!("Perplexity on {domain}"),
        note: format!(
            "Lower is better. Intervals are bootstrap 95 % intervals over pieces.{}",
            beside.unwrap_or_default()
        ),
        corner: "Arm".to_owned(),
        columns,
        rows: rows.collect(),
        ..Table::default()
    }
}

/// Perplexity per unit, or bits per byte, over all pieces of one passage, or why there is none. A unit
/// has the name of the quantity of a piece that counts it.
fn figure(pieces: &[&Measurement], stride: usize, name: &str) -> Result<Estimate, String> {
    let nats = nats(stride);
    let of = |one: &Measurement, name: &str| one.values.get(name).copied();
    let scored = |one: &&&Measurement| of(one, &nats).and(of(one, "tokens")).is_some();
    let scored: Vec<&&Measurement> = pieces.iter().filter(scored).collect();
    let first = scored.first().ok_or("not measured yet")?;
    let sum = |name: &str| scored.iter().map(|one| of(one, name)).sum::<Option<f64>>();
    // Records without the units of each piece have only those of the passage, which are the right
    // divisor where all of it was scored.
    let whole = of(first, "passage.tokens") == sum("tokens");
    let of_passage = || of(first, &format!("passage.{name}")).filter(|_| whole);
    let units = sum(name).or_else(of_passage).ok_or_else(|| {
        format!("a part of the passage was scored, and its {name} were not recorded")
    })?;
    let share = scored.len() as f64 / units;
    let values = scored
        .iter()
        .filter_map(|one| Some(of(one, &nats)? * share));
    let values: Vec<f64> = values.collect();
    let mean = Some(values).filter(|_| units > 0.0);
    let mean = mean.and_then(|values| Estimate::of(&values));
    let mean = mean.ok_or_else(|| format!("what was scored has no {name}"))?;
    Ok(match name {
        "bytes" => Estimate {
            std: None,
            ..mean.scaled(1.0 / LN_2)
        },
        _ => mean.map(f64::exp),
    })
}

pub(super) fn headline(experiment: &Perplexity, records: &Records) -> Option<Headline> {
    let window = experiment.settings.window;
    let stride = *experiment.settings.strides.first()?;
    let cells = experiment.arms().iter().map(|arm| {
        let pieces: Vec<&Measurement> = records.of(&arm.id, Pool::Texts, window).collect();
        let found = figure(&pieces, stride, "tokens");
        (arm.id.clone(), Cell::of(found, PERPLEXITY))
    });
    Some(Headline {
        title: "perplexity".to_owned(),
        note: format!(
            "per token, windows of {}, stride {}, all domains",
            plural(window as u64, "token"),
            grouped(stride as u64)
        ),
        better: Some(Better::Less),
        cells: cells.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::figure;
    use crate::experiments::perplexity::nats;
    use crate::record::Measurement;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    /// A piece, as records have it that do not count its words and bytes, of a passage of 5 tokens,
    /// 10 words and 25 bytes.
    fn piece(index: u64, sum: f64, tokens: f64) -> Measurement {
        let mut one = Measurement::new("dense", "text", 4, index);
        one.set(nats(4), sum);
        one.set("tokens", tokens);
        one.set("passage.tokens", 5.0);
        one.set("passage.words", 10.0);
        one.set("passage.bytes", 25.0);
        one
    }

    #[test]
    fn figures_are_over_all_tokens_not_means_of_pieces() {
        // 6 nats over 4 tokens, then 1 nat over 1 token.
        let (first, last) = (piece(0, 6.0, 4.0), piece(1, 1.0, 1.0));
        let found = |unit| figure(&[&first, &last], 4, unit).unwrap().mean;
        near(found("tokens"), (7.0f64 / 5.0).exp());
        near(found("words"), (7.0f64 / 10.0).exp());
        near(found("bytes"), 7.0 / 25.0 / 2.0f64.ln());
        assert!(figure(&[], 4, "tokens").is_err());
        assert!(figure(&[&first], 2, "tokens").is_err());
    }

    #[test]
    fn a_part_of_a_passage_is_divided_by_its_own_words_and_bytes() {
        let mut first = piece(0, 6.0, 4.0);
        near(figure(&[&first], 4, "tokens").unwrap().mean, 1.5f64.exp());
        for unit in ["words", "bytes"] {
            let reason = figure(&[&first], 4, unit).unwrap_err();
            assert!(reason.contains("not recorded"), "{reason}");
        }
        first.set("words", 3.0);
        first.set("bytes", 20.0);
        let found = |unit| figure(&[&first], 4, unit).unwrap().mean;
        near(found("words"), 2.0f64.exp());
        near(found("bytes"), 6.0 / 20.0 / 2.0f64.ln());
        // A word that began before.
        first.set("words", 0.0);
        let reason = figure(&[&first], 4, "words").unwrap_err();
        assert!(reason.contains("no words"), "{reason}");
    }
}
