//! Quantities that follow from the measurements of a record: ratios within a round, rates, floors
//! and shares.

use std::collections::{BTreeMap, BTreeSet};

use bsbr_attention::ArmConfig;
use bsbr_gpt2::Gpt2Config;

use crate::bench::floor::{Floor, attention_operations};
use crate::bench::names::{DENSE, are_compared, is_limit, is_peer};
use crate::bench::{Place, Scope, decode, first_token, machine};
use crate::record::{Measurement, Record};
use crate::rounds::SECONDS;
use crate::spec::ArmSpec;

/// Floating-point operations or bytes of a run.
pub(super) const WORK: &str = "work";
/// How much a pass raises the peak of a process.
pub(super) const GROWTH: &str = "growth";

/// The measurements of records, with derived quantities. A case's quantity at one length is
/// that of the newest record which has it, so that ratios are always of one round.
pub(super) fn newest(records: &[Record]) -> Vec<Measurement> {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by(|a, b| b.run.date.cmp(&a.run.date));
    let mut known: BTreeSet<[String; 4]> = BTreeSet::new();
    let mut all = Vec::new();
    for record in records {
        let mut own = derived(record);
        let key = |one: &Measurement, name: &String| {
            let length = one.length.to_string();
            [one.arm.clone(), one.source.clone(), length, name.clone()]
        };
        for one in &mut own {
            let place = one.clone();
            one.values
                .retain(|name, _| !known.contains(&key(&place, name)));
            one.missing
                .retain(|name, _| !known.contains(&key(&place, name)));
        }
        for one in &own {
            let names = one.values.keys().chain(one.missing.keys());
            known.extend(names.map(|name| key(one, name)));
        }
        all.extend(own);
    }
    all
}

/// A record's measurements with derived quantities. Of the limits of the machine, only these stay.
fn derived(record: &Record) -> Vec<Measurement> {
    let mut rounds: BTreeMap<_, Vec<&Measurement>> = BTreeMap::new();
    for one in &record.measurements {
        rounds.entry(round_of(one)).or_default().push(one);
    }
    let all = record.measurements.iter();
    all.map(|own| {
        let round = Round(rounds.get(&round_of(own)).map_or(&[], Vec::as_slice));
        let mut new = own.clone();
        let found = [
            ratios(own, &round, &record.method.arms),
            beside_other_rounds(own, record),
            beside_limits(own, &round, record),
        ];
        for (name, value) in found.into_iter().flatten() {
            new.set(name, value);
        }
        if is_limit(&own.arm) {
            new.values
                .retain(|name, _| ![SECONDS, WORK].contains(&name.as_str()));
            new.missing.clear();
        }
        new
    })
    .collect()
}

fn round_of(one: &Measurement) -> (&str, usize, u64) {
    (&one.source, one.length, one.index)
}

fn value(one: &Measurement, name: &str) -> Option<f64> {
    one.values.get(name).copied()
}

/// Operations or bytes per second.
fn rate(one: &Measurement) -> Option<f64> {
    Some(value(one, WORK)? / value(one, SECONDS)?)
}

/// The measurements of one round.
struct Round<'a>(&'a [&'a Measurement]);

impl<'a> Round<'a> {
    /// Those of a case; its sizes may be apart from its times.
    fn of<T>(&self, who: &str, get: impl Fn(&'a Measurement) -> Option<T>) -> Option<T> {
        let own = self.0.iter().filter(|one| one.arm == who);
        own.filter_map(|one| get(one)).next()
    }

    /// The rate of matrix products: the faster of ours and PyTorch's.
    fn product(&self) -> Option<f64> {
        let [ours, torch] = [machine::MATRIX, machine::TORCH_MATRIX].map(|who| self.of(who, rate));
        Some(ours?.max(torch.unwrap_or_default()))
    }
}

/// Derived quantities, by name.
type Derived = Vec<(String, f64)>;

/// A case's quantities divided by those of others in the same round: `by.torch-sdpa`,
/// `token.by.dense`; and dense's time divided by its own.
fn ratios(own: &Measurement, round: &Round<'_>, arms: &[ArmSpec]) -> Derived {
    let mut found = Vec::new();
    let has_spans = |arm: &ArmSpec| match &arm.config {
        ArmConfig::Moments(config) => arm.id == own.arm && config.span > 0,
        _ => false,
    };
    // What a second level saves.
    let default = arms.iter().find(|arm| arm.default && !has_spans(arm));
    let default = default.filter(|_| arms.iter().any(has_spans));
    let compared = |one: &&&Measurement| {
        let is_default = default.is_some_and(|arm| arm.id == one.arm);
        is_default || are_compared(&own.arm, &one.arm)
    };
    for (name, prefix) in [
        (SECONDS, ""),
        (decode::TOKEN, "token."),
        (decode::PREFILL, "prefill."),
        (GROWTH, "growth."),
    ] {
        let Some(value) = value(own, name) else {
            continue;
        };
        for other in round.0.iter().filter(compared) {
            let over = other.values.get(name);
            found.extend(over.map(|over| (format!("{prefix}by.{}", other.arm), value / over)));
            if let (Some(over), SECONDS, DENSE) = (over, name, other.arm.as_str()) {
                found.push(("speedup".to_owned(), over / value));
            }
        }
    }
    let mut ratio = |name: &str, one: Option<f64>, other: Option<f64>| {
        let both = one.zip(other);
        found.extend(both.map(|(one, other)| (name.to_owned(), one / other)));
    };
    let [prefill, pass, peak] = [decode::PREFILL, decode::PASS, first_token::PEAK];
    ratio("prefill.by.its pass", value(own, prefill), value(own, pass));
    // A checkpoint of another type, beside the same in f32.
    if let Some((name, _)) = own.arm.split_once(", ") {
        let single = round.of(&format!("{name}, f32"), |one| value(one, peak));
        ratio("peak.by.f32", value(own, peak), single);
    }
    found
}

/// The time of a token divided by that after the record's shortest context, in the same round; and
/// a peak divided by the size of the file.
fn beside_other_rounds(own: &Measurement, record: &Record) -> Derived {
    let all = record.measurements.iter();
    let mut of_own = all.filter(|one| one.arm == own.arm && one.source == own.source);
    let found = if let Some(token) = value(own, decode::TOKEN) {
        let of_round = of_own.filter(|one| one.index == own.index);
        let known = of_round.filter_map(|one| Some((one.length, value(one, decode::TOKEN)?)));
        let shortest = known.min_by_key(|(length, _)| *length);
        shortest.map(|(length, seconds)| (format!("token.over.{length}"), token / seconds))
    } else {
        let file = of_own.find_map(|one| value(one, first_token::FILE));
        let both = value(own, first_token::PEAK).zip(file);
        both.map(|(peak, file)| ("peak.by.file".to_owned(), peak / file))
    };
    Vec::from_iter(found)
}

/// Rates, floors, times divided by them, and the share of a cache.
fn beside_limits(own: &Measurement, round: &Round<'_>, record: &Record) -> Derived {
    let mut found: Vec<(&str, f64)> = Vec::new();
    let (config, tokens) = (config(record), own.length);
    let limit = is_limit(&own.arm);
    if limit && own.arm != machine::COPY {
        found.extend(rate(own).map(|rate| ("rate", rate * 1e-9)));
    }
    if let Some(bytes) = value(own, decode::CACHE) {
        // Keys and values of dense attention, in `f32`.
        let dense = (2 * config.n_layer * config.n_embd * tokens * size_of::<f32>()) as f64;
        found.extend([("cache.dense", dense), ("cache.share", bytes / dense)]);
    }
    let ours = !limit && !is_peer(&own.arm);
    // A token needs every weight once.
    let token = value(own, decode::TOKEN).filter(|_| ours);
    if let (Some(token), Some(rate)) = (token, round.of(machine::COPY, rate)) {
        let number = match own.arm.split_once(", ") {
            None => Some(Place::of(record).dtype().size()),
            Some((_, "f32")) => Some(4),
            Some((_, "bf16")) => Some(2),
            Some((_, "int8")) => Some(1),
            // Scales count as well.
            Some(_) => None,
        };
        let floor = number.map(|number| Floor::of(&config, 1, number).bytes / rate);
        found.extend(floor.map(|floor| ("token.by.floor", token / floor)));
    }
    if let Some(product) = round.product() {
        if own.source != Scope::Model.id() {
            let rate = rate(own).filter(|_| ours);
            found.extend(rate.map(|rate| ("product.share", rate / product)));
        } else {
            let floor = Floor::of(&config, tokens, Place::of(record).dtype().size());
            let operations = floor.operations / product;
            let bytes = round.of(machine::COPY, rate).map(|rate| floor.bytes / rate);
            if own.arm == machine::MATRIX {
                found.push(("floor.operations", operations));
                found.extend(bytes.map(|bytes| ("floor.bytes", bytes)));
            }
            let least = operations.max(bytes.unwrap_or_default());
            if let Some(seconds) = value(own, SECONDS).filter(|_| ours) {
                found.push(("by.floor", seconds / least));
                let arm = record.method.arms.iter().find(|arm| arm.id == own.arm);
                let layer = arm.map(|arm| attention_operations(&config, &arm.config, tokens));
                if let Some(layer) = layer {
                    let attention = config.n_layer as f64 * layer / product;
                    found.push(("attention", attention));
                    found.push(("by.floor and its attention", seconds / (least + attention)));
                }
            }
        }
    }
    let named = |(name, value): (&str, f64)| (name.to_owned(), value);
    found.into_iter().map(named).collect()
}

/// The shape of a record's model.
fn config(record: &Record) -> Gpt2Config {
    let model = &record.model;
    Gpt2Config {
        vocab_size: model.vocabulary,
        n_positions: model.positions,
        n_embd: model.hidden_size,
        n_layer: model.layers,
        n_head: model.heads,
        ..Gpt2Config::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::record::{Model, begin};
    use crate::record::{ModelInfo, Pool, Records};

    /// A record of a model of one layer with four dimensions.
    pub(in crate::bench) fn record(date: &str, measurements: Vec<Measurement>) -> Record {
        let info = ModelInfo {
            name: "tiny".to_owned(),
            layers: 1,
            heads: 1,
            hidden_size: 4,
            positions: 32,
            vocabulary: 8,
            parameters: 300,
        };
        let hash = String::new();
        let model = Model { info, hash };
        let begun = begin(
            "a test".to_owned(),
            None,
            model,
            &Place::default(),
            vec![],
            2,
        );
        let mut record = begun.unwrap();
        record.run.date = date.to_owned();
        record.measurements = measurements;
        record
    }

    /// Values of one quantity, round by round.
    pub(in crate::bench) fn rounds(
        (source, who, length): (&str, &str, usize),
        quantity: &str,
        values: &[f64],
    ) -> Vec<Measurement> {
        let one = |(index, value): (usize, &f64)| {
            let mut measured = Measurement::new(who, source, length, index as u64);
            measured.set(quantity, *value);
            measured
        };
        values.iter().enumerate().map(one).collect()
    }

    fn passes(all: &[(&str, &[f64])]) -> Vec<Measurement> {
        let of = |(who, values): &(&str, &[f64])| rounds(("model", who, 16), SECONDS, values);
        all.iter().flat_map(of).collect()
    }

    fn found(records: &[Record], who: &str, quantity: &str) -> Vec<f64> {
        let one = record("", newest(records));
        Records::new(vec![one]).values(who, Pool::Source("model"), 16, quantity)
    }

    #[test]
    fn ratios_are_of_one_round_and_one_record() {
        let old = passes(&[("dense", &[4.0, 6.0]), ("torch-sdpa", &[2.0, 2.0])]);
        let new = passes(&[("moments", &[1.0, 3.0]), ("dense", &[2.0, 4.0, 9.0])]);
        let records = [record("2026-01-02", new), record("2026-01-01", old)];
        let found = |who, quantity| found(&records, who, quantity);
        assert_eq!(found("dense", "by.torch-sdpa"), [2.0, 3.0]);
        assert_eq!(found("moments", "by.dense"), [0.5, 0.75]);
        assert_eq!(found("moments", "speedup").len(), 2);
        assert!(found("moments", "by.torch-sdpa").is_empty());
        assert_eq!(found("dense", SECONDS), [2.0, 4.0, 9.0]);
    }

    /// A limit's time, and the operations or bytes in it.
    fn limit(who: &str, work: f64, seconds: &[f64]) -> Vec<Measurement> {
        let mut all = passes(&[(who, seconds)]);
        all.iter_mut().for_each(|one| one.set(WORK, work));
        all
    }

    #[test]
    fn the_faster_product_of_a_round_is_the_rate_of_floors() {
        let mut all = passes(&[("dense", &[0.2, 0.4, 0.3])]);
        all.extend(limit("matrix", 1e3, &[0.1, 0.2]));
        all.extend(limit("torch-matrix", 1e3, &[0.2, 0.1]));
        all.extend(limit("copy", 1e6, &[0.5, 0.5]));
        let mut one = record("2026-01-01", all);
        let near = |found: Vec<f64>, expected: &[f64]| {
            let near = |(a, b): (&f64, &f64)| (a / b - 1.0).abs() < 1e-7;
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(near), "{found:?}");
        };
        // 16 tokens of 12·4² weights, and a head of 4·8: 2·(3072 + 32) operations at 10⁴ a second.
        let operations = 0.6208;
        let of = |one: &Record, who, quantity| found(std::slice::from_ref(one), who, quantity);
        near(of(&one, "matrix", "floor.operations"), &[operations; 2]);
        near(
            of(&one, "dense", "by.floor"),
            &[0.2 / operations, 0.4 / operations],
        );
        // A limit is a rate, and nothing is compared with it.
        near(of(&one, "torch-matrix", "rate"), &[5e-6, 1e-5]);
        near(of(&one, "torch-matrix", SECONDS), &[]);
        near(of(&one, "dense", "by.torch-matrix"), &[]);

        // For a known arm, its attention is counted too: 136 pairs of 4 dimensions, scores and
        // values, in one layer.
        near(of(&one, "dense", "attention"), &[]);
        one.method.arms.push(ArmSpec {
            id: "dense".to_owned(),
            label: "dense".to_owned(),
            about: String::new(),
            default: false,
            swept: false,
            config: ArmConfig::DENSE,
        });
        let own = of(&one, "dense", "by.floor and its attention");
        near(
            own,
            &[0.2 / (operations + 0.2176), 0.4 / (operations + 0.2176)],
        );

        // A later record without PyTorch has only our products.
        let mut later = one.clone();
        later.run.date = "2026-01-02".to_owned();
        later.measurements.retain(|one| one.arm != "torch-matrix");
        near(
            found(&[one, later], "matrix", "floor.operations"),
            &[operations, 2.0 * operations],
        );
    }

    #[test]
    fn tokens_are_compared_with_the_shortest_context_and_caches_with_dense_keys() {
        let mut all = Vec::new();
        for (length, seconds) in [(500, [0.010, 0.020]), (16, [0.005, 0.005])] {
            all.extend(rounds(
                ("decode", "lookups", length),
                decode::TOKEN,
                &seconds,
            ));
        }
        // One layer of four dimensions: 32 bytes a token.
        all.extend(rounds(("decode", "dense", 16), decode::CACHE, &[256.0]));
        for mut copy in rounds(("decode", "copy", 16), SECONDS, &[1.0, 1.0]) {
            // One layer of 12·4² weights with 64 inputs and outputs, and a head of 4·8.
            copy.set(WORK, 4.0 * (192.0 + 64.0 + 32.0));
            all.push(copy);
        }
        let records = Records::new(vec![record("", newest(&[record("2026-01-01", all)]))]);
        let of =
            |who, length, quantity| records.values(who, Pool::Source("decode"), length, quantity);
        assert_eq!(of("lookups", 500, "token.over.16"), [2.0, 4.0]);
        assert_eq!(of("lookups", 16, "token.over.16"), [1.0, 1.0]);
        // A copy of as many bytes as the weights, inputs and outputs of a token takes a second.
        assert_eq!(of("lookups", 16, "token.by.floor"), [0.005, 0.005]);
        assert_eq!(of("dense", 16, "cache.share"), [0.5]);
    }

    #[test]
    fn a_peak_is_compared_with_the_file_and_with_the_same_in_f32() {
        let first =
            |who, quantity, values: &[f64]| rounds(("first-token", who, 128), quantity, values);
        let mut all = first("dense, f16", first_token::PEAK, &[60.0, 66.0]);
        all.extend(first("dense, f32", first_token::PEAK, &[120.0, 110.0]));
        all.extend(first("dense, f16", first_token::FILE, &[50.0]));
        let records = Records::new(vec![record("", newest(&[record("2026-01-01", all)]))]);
        let of =
            |quantity| records.values("dense, f16", Pool::Source("first-token"), 128, quantity);
        assert_eq!(of("peak.by.f32"), [0.5, 0.6]);
        assert_eq!(of("peak.by.file"), [1.2, 1.32]);
    }
}
