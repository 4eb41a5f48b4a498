//! Markdown tables with aligned columns, and their cells.

use crate::bench::machine;
use crate::bench::record::Series;
use crate::bench::select::Spread;

/// The cell of a missing value.
pub(super) const NOTHING: &str = "—";

/// The name of a contestant in tables.
pub fn label(who: &str) -> &str {
    match who {
        "torch-sdpa" => "PyTorch, SDPA",
        "torch-eager" => "PyTorch, eager",
        "torch-sdpa, f32" => "PyTorch, f32",
        "torch-sdpa, f16" => "PyTorch, f16",
        "torch-sdpa, bf16" => "PyTorch, bf16",
        "ctranslate2" => "CTranslate2",
        "ctranslate2, bf16" => "CTranslate2, bf16",
        "ctranslate2, int8" => "CTranslate2, int8",
        "onnxruntime" => "ONNX Runtime",
        "onnxruntime, bf16" => "ONNX Runtime, bf16",
        "onnxruntime, int8" => "ONNX Runtime, int8",
        machine::TORCH_MATRIX => "PyTorch's product",
        machine::MATRIX => "our product",
        other => other,
    }
}

/// Whether a row is another engine's.
pub(super) fn is_peer(who: &str) -> bool {
    ["torch", "ctranslate2", "onnxruntime"]
        .iter()
        .any(|peer| who.starts_with(peer))
}

/// The baselines in ratios of our rows: PyTorch's fused attention, its plain one for stored
/// weights, and engines with the same weight type, f32 by default.
pub(super) fn pairs<'a>(who: &[&'a str]) -> Vec<[&'a str; 2]> {
    let ours = || who.iter().copied().filter(|who| !is_peer(who));
    let kind = |who: &'a str| who.split_once(", ").map(|(_, kind)| kind);
    let fits = |own: &'a str, peer: &'a str| match peer {
        "torch-sdpa" => true,
        "torch-eager" => kind(own).is_none(),
        _ => kind(own).unwrap_or("f32") == kind(peer).unwrap_or("f32"),
    };
    let mut all = Vec::new();
    for peer in who.iter().copied().filter(|who| is_peer(who)) {
        all.extend(ours().filter(|own| fits(own, peer)).map(|own| [own, peer]));
    }
    all.extend(
        ours()
            .filter(|own| *own != "dense")
            .map(|own| [own, "dense"]),
    );
    all
}

/// A table: title, note, and cells, with the head first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The title.
    pub title: String,
    /// The note.
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
pub(super) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Median and quartiles of samples in another unit.
pub(super) fn spread(samples: &[f64], factor: f64) -> String {
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

/// Median and quartiles of a series in another unit, or the reason why it is missing.
pub(super) fn series(found: Option<&Series>, factor: f64) -> String {
    match found {
        Some(one) if one.samples.is_empty() => {
            one.missing.clone().unwrap_or_else(|| NOTHING.to_owned())
        }
        Some(one) => spread(&one.samples, factor),
        None => NOTHING.to_owned(),
    }
}

/// The median, if there are samples.
pub(super) fn median(samples: &[f64]) -> Option<f64> {
    Spread::of(samples).map(|spread| spread.median)
}

/// A row: its name, then the other cells.
pub(super) fn head(first: &str, others: impl IntoIterator<Item = String>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_beside_engines_of_their_type() {
        let who = ["dense", "dense, int8", "torch-sdpa", "ctranslate2, int8"];
        let expected = [
            ["dense", "torch-sdpa"],
            ["dense, int8", "torch-sdpa"],
            ["dense, int8", "ctranslate2, int8"],
            ["dense, int8", "dense"],
        ];
        assert_eq!(pairs(&who), expected);
    }

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
}
