//! Perplexities over all tokens of a text.

use std::f64::consts::LN_2;

use crate::estimate::Estimate;
use crate::experiments::perplexity::{Perplexity, Published, nats};
use crate::present::subject::Subject;
use crate::record::{Measurement, ModelInfo, Pool, Records};
use crate::section::{Better, Cell, Column, Headline, Row, Style, Table};
use crate::spec::dense;

/// The format of perplexities.
const PERPLEXITY: Style = Style::Fixed(2);

/// The format of bits per byte.
const BITS: Style = Style::Fixed(4);

/// The values of template names.
pub(super) fn word(experiment: &Perplexity, name: &str, records: &Records) -> Option<String> {
    let settings = &experiment.settings;
    Some(match name {
        "tokens" => {
            let scored = |domain: &str| -> f64 {
                let arm = experiment.arms().first().map_or("", |arm| arm.id.as_str());
                let pieces = records.of(arm, Pool::Source(domain), settings.window);
                pieces.filter_map(|one| one.values.get("tokens")).sum()
            };
            let most = records
                .domains()
                .into_iter()
                .map(scored)
                .fold(0.0, f64::max);
            format!("{most:.0}")
        }
        "strides" => {
            let words = settings
                .strides
                .iter()
                .map(|&stride| match settings.window - stride {
                    0 => format!("Stride {stride}: windows do not overlap."),
                    before => format!("Stride {stride}: a token follows at least {before} others."),
                });
            words.collect::<Vec<_>>().join(" ")
        }
        "wikitext" => {
            let mut domains = records.domains().into_iter();
            match domains.any(|name| name.starts_with("WikiText")) {
                true => " WikiText is read as ordinary text, without the blanks that the dataset \
                         puts around words and punctuation. Its words are counted with these \
                         blanks, as in the files."
                    .to_owned(),
                false => String::new(),
            }
        }
        _ => return None,
    })
}

/// The published figure for the model of these records on these texts, if all texts were read.
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
    let arm = &experiment.arms().first()?.id;
    let pieces: Vec<&Measurement> = records
        .of(arm, Pool::Source(domain), experiment.settings.window)
        .collect();
    let read: f64 = pieces
        .iter()
        .filter_map(|one| one.values.get("tokens"))
        .sum();
    let whole = pieces.first()?.values.get("passage.tokens") == Some(&read);
    let mut all = experiment.settings.published.iter();
    all.find(|one| whole && is(one, model))
}

pub(super) fn table(experiment: &Perplexity, records: &Records, domain: &str) -> Table {
    let (arms, settings) = (experiment.arms(), &experiment.settings);
    let published = published(experiment, records, domain);
    let from = Pool::Source(domain);
    let less = |title: String| Column {
        key: String::new(),
        title,
        better: Some(Better::Less),
    };
    let of = |unit: &str| -> Vec<Column> {
        let strides = settings.strides.iter();
        strides
            .map(|stride| less(format!("per {unit}, stride {stride}")))
            .collect()
    };
    let mut columns = [of("token"), of("word")].concat();
    columns.push(less(format!(
        "bits per byte, stride {}",
        settings.strides[0]
    )));
    if published.is_some() {
        columns.push(Column::from("published"));
    }
    columns.push(Column::from("n"));
    let rows = Subject::arms(arms).into_iter().map(|arm| {
        let pieces: Vec<&Measurement> = records.of(&arm.id, from, settings.window).collect();
        let found = |stride: usize, unit: Unit| {
            records.estimate(&arm.id, from, settings.window, &nats(stride))?;
            figure(&pieces, stride, unit)
        };
        let mut cells: Vec<Cell> = Vec::new();
        for unit in [Unit::Token, Unit::Word] {
            let strides = settings.strides.iter();
            cells.extend(strides.map(|&stride| Cell::of(found(stride, unit), PERPLEXITY)));
        }
        let first = found(settings.strides[0], Unit::Byte);
        let count = first.as_ref().map_or(0, |found| found.n);
        cells.push(Cell::of(first, BITS));
        if let Some(published) = published {
            let own = dense(arms).is_some_and(|dense| dense.id == arm.id);
            cells.push(match own {
                true => Cell::Number(published.value, PERPLEXITY),
                false => Cell::Missing("published only for the dense model".to_owned()),
            });
        }
        cells.push(Cell::Number(count as f64, Style::Fixed(0)));
        Row {
            head: arm.label,
            arm: arm.arm,
            default: arm.default,
            role: arm.role,
            cells,
        }
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

/// The divisor of a sum of nats.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Token,
    Word,
    Byte,
}

impl Unit {
    /// The quantity of a piece that counts these units.
    fn name(self) -> &'static str {
        match self {
            Self::Token => "tokens",
            Self::Word => "words",
            Self::Byte => "bytes",
        }
    }
}

/// Perplexity, or bits, over all pieces of one passage, or why there is none.
fn figure(pieces: &[&Measurement], stride: usize, unit: Unit) -> Result<Estimate, String> {
    let name = nats(stride);
    let measured = pieces.iter().filter_map(|one| {
        let value = |name: &str| one.values.get(name).copied();
        Some((value(&name)?, value("tokens")?, *one))
    });
    let measured: Vec<_> = measured.collect();
    if measured.is_empty() {
        return Err("not measured yet".to_owned());
    }
    let units: Option<Vec<f64>> = measured
        .iter()
        .map(|(_, _, one)| one.values.get(unit.name()).copied())
        .collect();
    let of = |units: &[f64]| mean_nats(measured.iter().zip(units).map(|(one, &n)| (one.0, n)));
    let mean = match units {
        Some(units) => of(&units),
        None => {
            let tokens: Vec<f64> = measured.iter().map(|one| one.1).collect();
            let share = of_passage(&measured, unit)?;
            of(&tokens).map(|mean| mean.scaled(share))
        }
    };
    let mean = mean.ok_or_else(|| format!("what was scored has no {}", unit.name()))?;
    Ok(match unit {
        Unit::Token | Unit::Word => mean.exp(),
        Unit::Byte => Estimate {
            std: None,
            ..mean.scaled(1.0 / LN_2)
        },
    })
}

/// Tokens per unit of the passage. Records without the units of each piece have only those of the
/// passage, which are the right divisor where all of it was scored.
fn of_passage(measured: &[(f64, f64, &Measurement)], unit: Unit) -> Result<f64, String> {
    let units = format!("passage.{}", unit.name());
    let of = |name: &str| measured[0].2.values.get(name).copied();
    let scored: f64 = measured.iter().map(|one| one.1).sum();
    match (of("passage.tokens"), of(&units)) {
        (Some(tokens), Some(units)) if tokens == scored => Ok(tokens / units),
        _ => Err(format!(
            "a part of the passage was scored, and its {} were not recorded",
            unit.name()
        )),
    }
}

/// The mean per unit over pieces, of the nats and units of each; `None` without units.
fn mean_nats(pieces: impl Iterator<Item = (f64, f64)>) -> Option<Estimate> {
    let pieces: Vec<(f64, f64)> = pieces.collect();
    let units: f64 = pieces.iter().map(|piece| piece.1).sum();
    let share = pieces.len() as f64 / units;
    let values: Vec<f64> = pieces.iter().map(|piece| piece.0 * share).collect();
    (units > 0.0).then(|| Estimate::of(&values)).flatten()
}

pub(super) fn headline(experiment: &Perplexity, records: &Records) -> Option<Headline> {
    let window = experiment.settings.window;
    let stride = *experiment.settings.strides.first()?;
    let cells = experiment.arms().iter().map(|arm| {
        let pieces: Vec<&Measurement> = records.of(&arm.id, Pool::Texts, window).collect();
        let found = figure(&pieces, stride, Unit::Token);
        (arm.id.clone(), Cell::of(found, PERPLEXITY))
    });
    Some(Headline {
        title: "perplexity".to_owned(),
        note: format!("per token, windows of {window} tokens, stride {stride}, all domains"),
        better: Some(Better::Less),
        cells: cells.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Unit, figure};
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
        near(found(Unit::Token), (7.0f64 / 5.0).exp());
        near(found(Unit::Word), (7.0f64 / 10.0).exp());
        near(found(Unit::Byte), 7.0 / 25.0 / 2.0f64.ln());
        assert!(figure(&[], 4, Unit::Token).is_err());
        assert!(figure(&[&first], 2, Unit::Token).is_err());
    }

    #[test]
    fn a_part_of_a_passage_is_divided_by_its_own_words_and_bytes() {
        let mut first = piece(0, 6.0, 4.0);
        near(
            figure(&[&first], 4, Unit::Token).unwrap().mean,
            1.5f64.exp(),
        );
        for unit in [Unit::Word, Unit::Byte] {
            let reason = figure(&[&first], 4, unit).unwrap_err();
            assert!(reason.contains("not recorded"), "{reason}");
        }
        first.set("words", 3.0);
        first.set("bytes", 20.0);
        let found = |unit| figure(&[&first], 4, unit).unwrap().mean;
        near(found(Unit::Word), 2.0f64.exp());
        near(found(Unit::Byte), 6.0 / 20.0 / 2.0f64.ln());
        // A word that began before.
        first.set("words", 0.0);
        let reason = figure(&[&first], 4, Unit::Word).unwrap_err();
        assert!(reason.contains("no words"), "{reason}");
    }
}
