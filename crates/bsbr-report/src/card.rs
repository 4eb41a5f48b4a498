//! Results of one arm, for the model card.

use std::collections::BTreeSet;
use std::path::Path;

use bsbr_attention::ArmConfig;

use crate::error::ReportError;
use crate::experiments;
use crate::record::{Measurement, Pool, RANDOM, Record, Records};
use crate::render;
use crate::reproduce::RECORDS;
use crate::section::{Cell, Column, Row, Table};
use crate::spec::{dense, spec_error};
use crate::store::Store;
use crate::style::Style;

/// The rows of a card: experiment, quantity, its name and format.
const SHOWN: [(&str, &str, &str, Style); 7] = [
    (
        "agreement",
        "top1",
        "same most likely token as the original",
        Style::Percent(2),
    ),
    (
        "agreement",
        "kl",
        "KL (original ‖ arm), nats per token",
        Style::Digits(3),
    ),
    (
        "similarity",
        "final.cosine",
        "cosine of final hidden states",
        Style::Fixed(5),
    ),
    (
        "summarisation",
        "rougeL",
        "ROUGE-L of summaries against the highlights",
        Style::Percent(1),
    ),
    (
        "summarisation",
        "as_dense",
        "summaries identical to the original's",
        Style::Percent(1),
    ),
    (
        "qa",
        "among",
        "right answers among candidates",
        Style::Percent(1),
    ),
    ("qa", "exact", "exact answers", Style::Percent(1)),
];

/// A section of a card: the results for `arm` and the original in the records of `results`, for
/// the model whose files have this hash.
///
/// A folder may contain records of several runs with different texts, devices or samples. The
/// newest are used, and of one day's runs those with the most samples.
///
/// # Errors
///
/// [`ReportError`] if a record cannot be read, or none belongs to this model and arm.
pub fn measured(results: &Path, model_hash: &str, arm: &ArmConfig) -> Result<String, ReportError> {
    let store = Store::new(results.join(RECORDS));
    let mut rows: Vec<Row> = Vec::new();
    let mut method: Option<Record> = None;
    let mut all: Vec<Record> = Vec::new();
    let shown = |name: &&str| SHOWN.iter().any(|shown| shown.0 == *name);
    for experiment in experiments::names().into_iter().filter(shown) {
        let stored = store.all(experiment)?;
        let own = stored
            .iter()
            .filter(|record| record.identity.model == model_hash);
        all.extend(own.cloned());
    }
    let all = newest(all, |one| {
        let of = &one.identity;
        let weights = of.weights.clone().unwrap_or_default();
        [
            of.data.clone(),
            of.device.clone(),
            of.dtype.clone(),
            weights,
        ]
    });
    for experiment in experiments::names() {
        let own = all.iter().filter(|one| one.method.experiment == experiment);
        let records = newest(own.cloned().collect(), |one| one.identity.spec.clone());
        let Some(first) = records.first() else {
            continue;
        };
        let arms = &first.method.arms;
        let found = arms.iter().find(|one| one.config == *arm);
        let (Some(own), Some(original)) = (found, dense(arms)) else {
            continue;
        };
        let (own, original) = (own.id.clone(), original.id.clone());
        let first = first.clone();
        let records = Records::new(records);
        for (_, quantity, name, style) in SHOWN.iter().filter(|shown| shown.0 == experiment) {
            for length in lengths(&records, &own, quantity) {
                let cell = |id: &str| {
                    let found = records.estimate(id, Pool::Texts, length, quantity);
                    Cell::of(found, *style)
                };
                let found = records.estimate(&own, Pool::Texts, length, quantity);
                let n = found.map_or(0, |found| found.n);
                rows.push(Row {
                    head: format!("{experiment}: {name}, {length}"),
                    cells: vec![
                        cell(&own),
                        cell(&original),
                        Cell::Number(n as f64, Style::Fixed(0)),
                    ],
                    ..Row::default()
                });
                method.get_or_insert_with(|| first.clone());
            }
        }
    }
    let Some(record) = method else {
        let message = "there are no records of this model with this arm; run `cargo xtask \
                       reproduce` with the same --model first"
            .to_owned();
        return Err(spec_error(results, message));
    };
    let quick = match record.method.quick {
        true => " They are from a quick run with few samples.",
        false => "",
    };
    let table = Table {
        note: format!(
            "Means over samples ± standard deviation, with bootstrap 95 % intervals, before any \
             training. After each name: the tokens of a text, or the words between a fact and its \
             question. Texts: {}. Measured by `{}`, version {}, on {}.{quick}",
            record.run.texts, record.run.command, record.run.version, record.run.date
        ),
        corner: "measured".to_owned(),
        columns: ["this arm", "the original", "n"].map(Column::from).to_vec(),
        rows,
        ..Table::default()
    };
    Ok(format!("## Measured\n\n{}", render::table(&table)))
}

/// The records whose `key` equals that of the newest, or among one day's that of the most samples.
fn newest<K: PartialEq>(mut records: Vec<Record>, key: impl Fn(&Record) -> K) -> Vec<Record> {
    let standing = |one: &Record| {
        let own = key(one);
        let same = records.iter().filter(|other| key(other) == own);
        same.fold((String::new(), 0), |(date, samples), other| {
            (date.max(other.run.date.clone()), samples + other.samples)
        })
    };
    let kept = records.iter().max_by_key(|one| standing(one)).map(&key);
    records.retain(|one| Some(key(one)) == kept);
    records
}

/// The lengths at which an arm has values of a quantity.
fn lengths(records: &Records, arm: &str, quantity: &str) -> Vec<usize> {
    let has = |one: &&Measurement| {
        one.arm == arm && one.source != RANDOM && one.values.contains_key(quantity)
    };
    let own = records.measurements().filter(has);
    let lengths: BTreeSet<usize> = own.map(|one| one.length).collect();
    lengths.into_iter().collect()
}
