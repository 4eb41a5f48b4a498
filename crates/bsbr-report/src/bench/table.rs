//! Tables of what was measured, in Markdown whose columns are aligned.

use bsbr_gpt2::Gpt2Config;

use crate::bench::floor::{Floor, attention_operations};
use crate::bench::record::{BYTES, Series};
use crate::bench::select::{Measured, Round, Spread};
use crate::bench::{Place, Scope, first_token, machine, profile, training};

/// A cell for what is not there.
const NOTHING: &str = "—";

/// What tables call everybody.
pub fn label(who: &str) -> &str {
    match who {
        "torch-sdpa" => "PyTorch, SDPA",
        "torch-eager" => "PyTorch, eager",
        "torch-sdpa, f32" => "PyTorch, f32",
        "torch-sdpa, f16" => "PyTorch, f16",
        machine::TORCH_MATRIX => "PyTorch's product",
        machine::MATRIX => "our product",
        other => other,
    }
}

/// A table: its title, what is to be known of it, and its cells, those of the head first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The title.
    pub title: String,
    /// What is to be known.
    pub note: String,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The table under a heading.
    pub fn markdown(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &[String]| {
            let cell = |(column, width): (usize, &usize)| {
                let text = row.get(column).map_or("", String::as_str);
                let pad = " ".repeat(width - text.chars().count());
                match column {
                    0 => format!(" {text}{pad} |"),
                    _ => format!(" {pad}{text} |"),
                }
            };
            let cells: String = widths.iter().enumerate().map(cell).collect();
            format!("|{cells}\n")
        };
        let rule = |(column, width): (usize, &usize)| match column {
            0 => format!("{}|", "-".repeat(width + 2)),
            _ => format!("{}:|", "-".repeat(width + 1)),
        };
        let rules: String = widths.iter().enumerate().map(rule).collect();
        let mut rows = self.rows.iter().map(|row| line(row));
        let head = rows.next().unwrap_or_default();
        let body: String = rows.collect();
        format!(
            "### {}\n\n{}\n\n{head}|{rules}\n{body}",
            self.title, self.note
        )
    }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Median and quartiles of samples in another unit.
fn spread(samples: &[f64], factor: f64) -> String {
    let samples: Vec<f64> = samples.iter().map(|sample| sample * factor).collect();
    match Spread::of(&samples) {
        None => NOTHING.to_owned(),
        Some(Spread {
            median,
            quartiles: [low, high],
            ..
        }) => format!("{} [{}, {}]", digits(median), digits(low), digits(high)),
    }
}

/// Median, quartiles and interval of ratios.
pub(super) fn ratio(samples: &[f64]) -> String {
    match Spread::of(samples) {
        None => NOTHING.to_owned(),
        Some(one) => {
            let [low, high] = one.quartiles;
            let interval = one
                .interval
                .map(|found| format!(" ({:.2}, {:.2})", found.low, found.high));
            format!(
                "{:.2} [{low:.2}, {high:.2}]{}",
                one.median,
                interval.unwrap_or_default()
            )
        }
    }
}

fn series(found: Option<&Series>, factor: f64) -> String {
    match found {
        Some(one) if one.samples.is_empty() => {
            one.missing.clone().unwrap_or_else(|| NOTHING.to_owned())
        }
        Some(one) => spread(&one.samples, factor),
        None => NOTHING.to_owned(),
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    Spread::of(samples).map(|spread| spread.median)
}

/// Every table that the records have something for.
pub fn tables(measured: &Measured) -> Vec<Table> {
    let mut all = Vec::new();
    for (scope, title) in [
        (Scope::Model, "The whole model"),
        (Scope::Attention, "Attention alone"),
        (Scope::Gradients, "Attention alone and its gradients"),
    ] {
        if !measured.lengths(scope).is_empty() {
            all.push(times(measured, scope, title));
            all.push(ratios(measured, scope, title));
        }
    }
    all.extend(accuracies(measured));
    all.extend(memory(measured));
    all.extend(first_tokens(measured));
    all.extend(training_step(measured));
    all.extend(profiles(measured));
    all
}

/// The shape of the model, as far as floors need it.
pub(super) fn config(measured: &Measured) -> Option<Gpt2Config> {
    let model = &measured.records().last()?.model;
    let text = format!(
        r#"{{"model_type": "gpt2", "vocab_size": {}, "n_positions": {}, "n_embd": {},
            "n_layer": {}, "n_head": {}}}"#,
        model.vocabulary, model.positions, model.hidden_size, model.layers, model.heads
    );
    Gpt2Config::from_json(&text).ok()
}

fn head(first: &str, others: impl IntoIterator<Item = String>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(others).collect()
}

fn times(measured: &Measured, scope: Scope, title: &str) -> Table {
    let who = measured.who(scope);
    let config = config(measured);
    let model = scope == Scope::Model;
    let counted = counted(measured, scope);
    let mut columns: Vec<String> = who.iter().map(|who| label(who).to_owned()).collect();
    columns.push("product, GFLOP/s".to_owned());
    columns.push("PyTorch's, GFLOP/s".to_owned());
    if model {
        columns.push("floor: operations".to_owned());
        columns.push("floor: bytes".to_owned());
    }
    columns.extend(counted.iter().map(|own| format!("attention: {own}")));
    let mut rows = vec![head("tokens", columns)];
    for length in measured.lengths(scope) {
        let mut row = vec![length.to_string()];
        for who in &who {
            row.push(series(measured.series(scope, who, "", length), 1e3));
        }
        for who in [machine::MATRIX, machine::TORCH_MATRIX] {
            let found = measured.series(scope, who, "", length);
            let rate = found.and_then(|one| Some(one.work? / median(&one.samples)?));
            row.push(rate.map_or_else(|| NOTHING.to_owned(), |rate| digits(rate * 1e-9)));
        }
        if model {
            let floor = config
                .as_ref()
                .map(|config| Floor::of(config, length, place(measured).dtype().size()));
            let rounds = measured.rounds(scope, machine::MATRIX, length);
            let products: Vec<f64> = rounds.iter().map(|round| round.product).collect();
            let copies: Vec<f64> = rounds.iter().filter_map(|round| round.copy).collect();
            let [operations, bytes] = [
                floor.and_then(|floor| Some(floor.operations / median(&products)?)),
                floor.and_then(|floor| Some(floor.bytes / median(&copies)?)),
            ]
            .map(|found| found.map_or_else(|| NOTHING.to_owned(), |s| digits(s * 1e3)));
            row.extend([operations, bytes]);
            row.extend(counted.iter().map(|own| {
                let found = attention(measured, own, length).zip(median(&products));
                found.map_or_else(
                    || NOTHING.to_owned(),
                    |(work, rate)| digits(work / rate * 1e3),
                )
            }));
        }
        rows.push(row);
    }
    let floors = match model {
        true => {
            " A floor is what the linear layers alone would take: their operations at the rate of \
             the faster of the two products, in a round, or their bytes at the rate of a copy. \
             Attention is what an arm's own operations would take at that rate, in all layers."
        }
        false if scope == Scope::Gradients => {
            " One layer, from queries, keys and values to the output and back to their gradients."
        }
        false => " One layer, from queries, keys and values to the output.",
    };
    Table {
        title: format!("{title}: time"),
        note: format!(
            "Milliseconds, median [quartiles]. The products are of {} rows, timed in the same \
             rounds.{floors}",
            machine::rows(&place(measured))
        ),
        rows,
    }
}

fn ratios(measured: &Measured, scope: Scope, title: &str) -> Table {
    let who = measured.who(scope);
    let ours: Vec<&str> = who
        .iter()
        .copied()
        .filter(|who| !who.starts_with("torch"))
        .collect();
    let mut pairs: Vec<[&str; 2]> = Vec::new();
    for other in ["torch-sdpa", "torch-eager"] {
        if who.contains(&other) {
            pairs.extend(ours.iter().map(|own| [*own, other]));
        }
    }
    let others = ours.iter().filter(|own| **own != "dense");
    pairs.extend(others.map(|own| [*own, "dense"]));
    let mut columns: Vec<String> = pairs
        .iter()
        .map(|[upper, lower]| format!("{} ÷ {}", label(upper), label(lower)))
        .collect();
    let last = match scope {
        Scope::Model => "floor",
        _ => "share of the product's rate",
    };
    columns.extend(ours.iter().map(|own| match scope {
        Scope::Model => format!("{own} ÷ {last}"),
        _ => format!("{own}: {last}"),
    }));
    let counted = counted(measured, scope);
    columns.extend(
        counted
            .iter()
            .map(|own| format!("{own} ÷ floor and its attention")),
    );
    let mut rows = vec![head("tokens", columns)];
    for length in measured.lengths(scope) {
        let mut row = vec![length.to_string()];
        row.extend(
            pairs
                .iter()
                .map(|pair| ratio(&measured.ratio(scope, *pair, "", length))),
        );
        row.extend(ours.iter().map(|own| {
            ratio(&match scope {
                Scope::Model => over_floor(measured, own, length),
                _ => share_of_rate(measured, scope, own, length),
            })
        }));
        row.extend(
            counted
                .iter()
                .map(|own| ratio(&over_own_floor(measured, own, length))),
        );
        rows.push(row);
    }
    let rate = match scope {
        Scope::Model => "",
        _ => {
            " The share of the product's rate counts for everybody the operations of exact causal \
             attention, so that it is above 1 where an arm does without most of them."
        }
    };
    Table {
        title: format!("{title}: ratios"),
        note: format!(
            "Of the two in one round: median [quartiles] (bootstrap 95 % of the median); below 1 the \
             first is faster.{rate}"
        ),
        rows,
    }
}

/// The arms whose operations can be counted: those of a whole model whose settings are known.
fn counted(measured: &Measured, scope: Scope) -> Vec<&str> {
    match scope {
        Scope::Model => {
            let mut who = measured.who(scope);
            who.retain(|who| measured.arm(who).is_some());
            who
        }
        _ => Vec::new(),
    }
}

/// Operations of an arm's attention, in all layers.
fn attention(measured: &Measured, who: &str, length: usize) -> Option<f64> {
    let config = config(measured)?;
    let arm = measured.arm(who)?;
    Some(config.n_layer as f64 * attention_operations(&config, arm, length))
}

/// Time over the floor, round by round.
pub(super) fn over_floor(measured: &Measured, who: &str, length: usize) -> Vec<f64> {
    over_floor_and(measured, who, length, 0.0)
}

/// Time over the floor and what the arm's attention computes, round by round.
fn over_own_floor(measured: &Measured, who: &str, length: usize) -> Vec<f64> {
    match attention(measured, who, length) {
        Some(operations) => over_floor_and(measured, who, length, operations),
        None => Vec::new(),
    }
}

/// Time over the floor and so many operations more, round by round.
fn over_floor_and(measured: &Measured, who: &str, length: usize, more: f64) -> Vec<f64> {
    let Some(config) = config(measured) else {
        return Vec::new();
    };
    let floor = Floor::of(&config, length, place(measured).dtype().size());
    let rounds = measured.rounds(Scope::Model, who, length);
    let ratio = |round: &Round| {
        let operations = floor.operations / round.product;
        let bytes = round.copy.map_or(0.0, |rate| floor.bytes / rate);
        round.seconds / (operations.max(bytes) + more / round.product)
    };
    rounds.iter().map(ratio).collect()
}

/// What attention makes of the matrix products' rate, round by round.
pub(super) fn share_of_rate(
    measured: &Measured,
    scope: Scope,
    who: &str,
    length: usize,
) -> Vec<f64> {
    let rounds = measured.rounds(scope, who, length);
    let share = |round: &Round| round.work / round.seconds / round.product;
    rounds.iter().map(share).collect()
}

/// Where the newest record is of.
fn place(measured: &Measured) -> Place {
    let newest = measured.records().last();
    newest.map_or_else(Place::default, |record| record.place.clone())
}

fn accuracies(measured: &Measured) -> Option<Table> {
    let scope = Scope::Accuracy;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let names = who.iter().map(|who| label(who).to_owned());
    let mut rows = vec![head("tokens", names)];
    for length in measured.lengths(scope) {
        let cells = who.iter().map(|who| {
            let found = measured.series(scope, who, "", length);
            match found.and_then(|one| median(&one.samples)) {
                Some(error) => format!("{error:.1e}"),
                None => series(found, 1.0),
            }
        });
        rows.push(head(&length.to_string(), cells));
    }
    Some(Table {
        title: "Rounding".to_owned(),
        note: "How far the last token's logits are from those of the same weights and arm on the \
               processor in f32: the norm of the difference over that of the logits."
            .to_owned(),
        rows,
    })
}

const MIB: f64 = 1.0 / (1 << 20) as f64;

fn memory(measured: &Measured) -> Option<Table> {
    let scope = Scope::Memory;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let names = who.iter().map(|who| label(who).to_owned());
    let mut rows = vec![head("tokens", names)];
    for length in measured.lengths(scope) {
        let cells = who
            .iter()
            .map(|who| series(measured.series(scope, who, "", length), MIB));
        rows.push(head(&length.to_string(), cells));
    }
    Some(Table {
        title: "Peak memory of a forward pass".to_owned(),
        note:
            "MiB by which a forward pass raises the peak of a fresh process that holds the model \
               and has made a pass of 16 tokens."
                .to_owned(),
        rows,
    })
}

fn first_tokens(measured: &Measured) -> Option<Table> {
    let scope = Scope::FirstToken;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let parts = [
        (first_token::WHOLE, "start to first token, ms", 1e3),
        (first_token::LOADED, "loading and first token, ms", 1e3),
        (first_token::PEAK, "peak, MiB", MIB),
        (first_token::FILE, "checkpoint, MiB", MIB),
    ];
    let mut rows = vec![head("process", parts.map(|(_, title, _)| title.to_owned()))];
    for who in who {
        let cells = parts.map(|(part, _, factor)| {
            let found = measured.series(scope, who, part, first_token::PROMPT);
            match (part, found) {
                (first_token::FILE, Some(one)) if one.unit == BYTES => median(&one.samples)
                    .map_or_else(|| NOTHING.to_owned(), |bytes| digits(bytes * factor)),
                (_, found) => series(found, factor),
            }
        });
        rows.push(head(label(who), cells));
    }
    Some(Table {
        title: "Time to first token".to_owned(),
        note: format!(
            "A fresh process opens a checkpoint and gives the token after {} others; median \
             [quartiles]. The second column leaves out what Python takes to import its libraries. \
             The peak is all that the process held, mapped files included.",
            first_token::PROMPT
        ),
        rows,
    })
}

fn training_step(measured: &Measured) -> Option<Table> {
    let scope = Scope::Training;
    let who = measured.who(scope);
    if who.is_empty() {
        return None;
    }
    let names = ["ms", "÷ PyTorch"].map(str::to_owned);
    let mut rows = vec![head("step", names)];
    for who in who {
        let found = measured.series(scope, who, "", training::WINDOW);
        let ratio = ratio(&measured.ratio(scope, [who, "torch-sdpa"], "", training::WINDOW));
        rows.push(head(label(who), [series(found, 1e3), ratio]));
    }
    Some(Table {
        title: "Training step".to_owned(),
        note: format!(
            "Four layers of 256 dimensions, {} rows of {} tokens: forward, backward, clipping by the \
             global norm, and AdamW.",
            training::ROWS,
            training::WINDOW
        ),
        rows,
    })
}

fn profiles(measured: &Measured) -> Vec<Table> {
    let scope = Scope::Profile;
    let lengths = measured.lengths(scope);
    let mut all = Vec::new();
    for who in measured.who(scope) {
        let mut parts = measured.parts(scope);
        let longest = lengths.last().copied().unwrap_or_default();
        let cost = |part: &str| {
            let found = measured.series(scope, who, part, longest);
            found.and_then(|one| median(&one.samples)).unwrap_or(0.0)
        };
        parts.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        let names = lengths.iter().map(|length| format!("{length} tokens"));
        let mut rows = vec![head("part", names)];
        for part in parts {
            let cells = lengths.iter().map(|&length| {
                let own = measured.series(scope, who, part, length);
                let whole = measured.series(scope, who, profile::WHOLE, length);
                match (own, whole) {
                    (Some(own), Some(whole)) if !own.samples.is_empty() => {
                        let own = median(&own.samples).unwrap_or_default();
                        let whole = median(&whole.samples).unwrap_or(f64::NAN);
                        format!("{} ({:.1} %)", digits(own * 1e3), 100.0 * own / whole)
                    }
                    (own, _) => series(own, 1e3),
                }
            });
            rows.push(head(part, cells));
        }
        all.push(Table {
            title: format!("Where the time goes: {who}"),
            note:
                "Milliseconds of each part of a forward pass, all layers together, and its share; \
                   medians."
                    .to_owned(),
            rows,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use bsbr_attention::ArmConfig;

    use super::*;
    use crate::bench::record::tests::record;
    use crate::spec::ArmSpec;

    #[test]
    fn columns_are_aligned_and_numbers_short() {
        let table = Table {
            title: "A table".to_owned(),
            note: "A note.".to_owned(),
            rows: vec![
                vec!["tokens".to_owned(), "ms".to_owned()],
                vec!["16".to_owned(), "1.00 [1.00, 2.00]".to_owned()],
            ],
        };
        let expected = "### A table\n\nA note.\n\n\
                        | tokens |                ms |\n\
                        |--------|------------------:|\n\
                        | 16     | 1.00 [1.00, 2.00] |\n";
        assert_eq!(table.markdown(), expected);
        let found = [0.1234, 1.234, 12.34, 99.99, 1234.4].map(digits);
        assert_eq!(found, ["0.12", "1.23", "12.3", "100", "1234"]);
    }

    #[test]
    fn a_table_has_times_ratios_floors_and_reasons() {
        let mut record = record(
            "2026-01-01",
            &[
                ("dense", &[0.2, 0.4]),
                ("torch-sdpa", &[0.1, 0.1]),
                ("torch-eager", &[]),
                ("matrix", &[0.1, 0.1]),
                ("copy", &[0.5, 0.5]),
            ],
        );
        record.series[2].missing = Some("no torch".to_owned());
        record.series[3].work = Some(1e3);
        record.series[4].work = Some(1e6);
        let measured = Measured::new(vec![record]);
        let text: String = tables(&measured).iter().map(Table::markdown).collect();
        for part in [
            "300 [250, 350]",
            "3.00 [2.50, 3.50]",
            "no torch",
            "floor: bytes",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        // 16 tokens of 12·4² weights, and a head of 4·8: 2·(3072 + 32) operations at 10⁴ a second.
        let floor = over_floor(&measured, "dense", 16);
        assert!((floor[0] - 0.2 / 0.6208).abs() < 1e-9, "{floor:?}");

        // Of an arm that is known, its attention is counted too: 136 pairs of 4 dimensions, scores
        // and values, in one layer.
        assert!(!text.contains("its attention"), "{text}");
        let dense = ArmSpec {
            id: "dense".to_owned(),
            label: "dense".to_owned(),
            about: String::new(),
            default: false,
            swept: false,
            config: ArmConfig::Dense,
        };
        let measured = measured.with_arms(vec![dense]);
        let text: String = tables(&measured).iter().map(Table::markdown).collect();
        assert!(text.contains("dense ÷ floor and its attention"), "{text}");
        let own = over_own_floor(&measured, "dense", 16);
        assert!((own[0] - 0.2 / (0.6208 + 0.2176)).abs() < 1e-9, "{own:?}");
    }
}
