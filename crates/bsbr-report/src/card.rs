//! Results of one arm, for the model card.

use std::collections::BTreeSet;
use std::path::Path;

use bsbr_attention::ArmConfig;

use crate::error::ReportError;
use crate::record::{Measurement, Pool, RANDOM, Record, Records};
use crate::render;
use crate::reproduce::RECORDS;
use crate::section::{Cell, Column, Row, Table};
use crate::spec::{ArmSpec, Spec, dense, spec_error};
use crate::store::Store;
use crate::style::Style;

/// A section of a card: the results for `arm` and the original in the records of `results`, for
/// the model whose files have this hash. The specifications declare what is shown.
///
/// A folder may contain records of several runs with different texts, devices or samples. The
/// newest are used, and of one day's runs those with the most samples.
///
/// # Errors
///
/// [`ReportError`] if a record cannot be read, or none belongs to this model and arm.
pub fn measured(
    results: &Path,
    specs: &[Spec],
    model_hash: &str,
    arm: &ArmConfig,
) -> Result<String, ReportError> {
    let store = Store::new(results.join(RECORDS));
    let shown = |spec: &&Spec| spec.layout.quantities.on_cards().next().is_some();
    let specs: Vec<&Spec> = specs.iter().filter(shown).collect();
    let mut all: Vec<Record> = Vec::new();
    for spec in &specs {
        let stored = store.all(&spec.method.experiment)?;
        let own = stored
            .iter()
            .filter(|record| record.identity.model == model_hash);
        all.extend(own.cloned());
    }
    let all = newest(all, |one| {
        let of = one.identity.clone();
        (of.data, of.device, of.dtype, of.weights)
    });
    let mut rows: Vec<Row> = Vec::new();
    let mut method: Option<Record> = None;
    for spec in specs {
        let experiment = &spec.method.experiment;
        let own = all
            .iter()
            .filter(|one| one.method.experiment == *experiment);
        let records = newest(own.cloned().collect(), |one| one.identity.spec.clone());
        let records = Records::new(records);
        let Some(first) = records.first() else {
            continue;
        };
        let arms = &first.method.arms;
        let found = arms.iter().find(|one| one.config == *arm);
        let (Some(own), Some(original)) = (found, dense(arms)) else {
            continue;
        };
        for (quantity, name, style) in spec.layout.quantities.on_cards() {
            for length in lengths(&records, &own.id, quantity) {
                let of = |arm: &ArmSpec| records.estimate(&arm.id, Pool::Texts, length, quantity);
                let n = of(own).map_or(0, |found| found.n);
                rows.push(Row {
                    head: format!("{experiment}: {name}, {length}"),
                    cells: vec![
                        Cell::of(of(own), style),
                        Cell::of(of(original), style),
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
