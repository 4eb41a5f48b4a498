//! What an experiment has to say, before it is Markdown or HTML.

use std::collections::BTreeMap;

use crate::estimate::Estimate;

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A share as a percentage with this many decimals.
    Percent(usize),
    /// This many decimals.
    Fixed(usize),
    /// This many significant digits.
    Digits(usize),
    /// Bytes as MiB with one decimal.
    Mebibytes,
    /// Whole tokens.
    Tokens,
}

impl Style {
    /// The number, without a unit.
    pub fn number(self, value: f64) -> String {
        with_minus(match self {
            Self::Percent(decimals) => format!("{:.decimals$}", value * 100.0),
            Self::Fixed(decimals) => format!("{value:.decimals$}"),
            Self::Digits(digits) => significant(value, digits),
            Self::Mebibytes => format!("{:.1}", value / f64::from(1 << 20)),
            Self::Tokens => format!("{value:.0}"),
        })
    }

    /// A number as exact as `of` is written in this style: its spread, or an end of its interval.
    pub fn beside(self, value: f64, of: f64) -> String {
        match self {
            Self::Percent(_) | Self::Fixed(_) | Self::Mebibytes | Self::Tokens => {
                self.number(value)
            }
            Self::Digits(digits) => match decimals(of, digits) {
                Some(decimals) => with_minus(format!("{value:.decimals$}")),
                None => self.number(value),
            },
        }
    }

    /// What stands behind the number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Percent(_) => " %",
            Self::Tokens => " tokens",
            _ => "",
        }
    }

    /// The number with what stands behind it.
    pub fn with_unit(self, value: f64) -> String {
        format!("{}{}", self.number(value), self.unit())
    }
}

/// A number with a minus that is not a hyphen, and none before zero.
fn with_minus(number: String) -> String {
    match number.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| matches!(b, b'0' | b'.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => number,
    }
}

/// `digits` significant digits: 0.00412, or 4.12 × 10⁻⁵ where that is shorter to read.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}");
    }
    if let Some(decimals) = decimals(value, digits) {
        return format!("{value:.decimals$}");
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    match scientific.split_once('e') {
        Some((mantissa, exponent)) => {
            let exponent = superscript(exponent.parse().unwrap_or(0));
            format!("{mantissa} × 10{exponent}")
        }
        None => scientific,
    }
}

/// Decimals that show `digits` significant digits; `None` where a power of ten reads better.
fn decimals(value: f64, digits: usize) -> Option<usize> {
    if value == 0.0 || !value.is_finite() {
        return None;
    }
    let last = digits.saturating_sub(1);
    // As it will be rounded: 9.996 to three digits is 10.0.
    let exponent: i32 = format!("{value:.last$e}").split_once('e')?.1.parse().ok()?;
    (-4..=5)
        .contains(&exponent)
        .then(|| (last as i32 - exponent).max(0) as usize)
}

/// A whole number in superscript digits.
pub(crate) fn superscript(number: i32) -> String {
    number
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            // ⁴ to ⁹, and ⁰, lie in one row.
            digit => char::from_u32(0x2070 + (digit as u32 - '0' as u32)).unwrap_or(digit),
        })
        .collect()
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number that has no spread.
    Number(f64, Style),
    /// A quantity over samples.
    Measured(Estimate, Style),
    /// What is read first, and how it is spread.
    Spread(String, String),
    /// A number, marked as good or not.
    Marked(String, bool),
    /// Nothing, and why.
    Missing(String),
}

impl Cell {
    /// A measured cell, or a missing one with its reason.
    pub fn of(estimate: Result<Estimate, String>, style: Style) -> Self {
        match estimate {
            // Such as a perplexity per word of a text without blanks.
            Ok(estimate) if !estimate.is_finite() => {
                Self::Missing("too large for a number".to_owned())
            }
            Ok(estimate) => Self::Measured(estimate, style),
            Err(reason) => Self::Missing(reason),
        }
    }

    /// The number of samples as a cell.
    pub fn count(estimate: &Result<Estimate, String>) -> Self {
        match estimate {
            Ok(estimate) => Self::Number(estimate.n as f64, Style::Fixed(0)),
            Err(reason) => Self::Missing(reason.clone()),
        }
    }
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What the row is about.
    pub head: String,
    /// The arm whose colour marks the row, by its place in the specification.
    pub arm: Option<usize>,
    /// Whether the row stands out.
    pub strong: bool,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Heading of the rows' heads.
    pub corner: String,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether it is long, and folded away on the page.
    pub folded: bool,
}

/// A picture of a figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// The content of an `<svg>` element.
    Svg {
        /// Width of its view box.
        width: f64,
        /// Height of its view box.
        height: f64,
        /// The elements.
        body: String,
        /// What it shows, for those who cannot see it.
        label: String,
    },
    /// A PNG image.
    Png {
        /// The file.
        bytes: Vec<u8>,
        /// What it shows.
        label: String,
    },
}

/// One or more pictures that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its file's name without ending.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// Pictures beside each other where there is room.
    pub columns: usize,
}

/// A text of a [`Reading`].
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Whose text it is, or what.
    pub head: String,
    /// The arm whose colour marks it, by its place in the specification.
    pub arm: Option<usize>,
    /// The text; a line is a paragraph.
    pub text: String,
}

impl Passage {
    /// Its paragraphs; a text that is empty says so.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let empty = self.text.trim().is_empty().then_some("(empty)");
        let lines = self.text.lines().filter(|line| !line.trim().is_empty());
        empty.into_iter().chain(lines)
    }
}

/// Texts to read one after the other, folded away on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What they are.
    pub title: String,
    /// How they were chosen.
    pub note: String,
    /// The texts.
    pub passages: Vec<Passage>,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A figure.
    Figure(Figure),
    /// Texts to read.
    Reading(Reading),
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The claim in words.
    pub claim: String,
    /// The arm's label.
    pub arm: String,
    /// What is required, in words.
    pub bar: String,
    /// What was measured.
    pub measured: Cell,
    /// Samples.
    pub n: Option<usize>,
    /// Whether it holds; `None` where it was not measured.
    pub holds: Option<bool>,
}

/// A column of the overview: one number for each arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Headline {
    /// The quantity.
    pub title: String,
    /// Which way is better, and on what.
    pub note: String,
    /// A cell for each arm's id.
    pub cells: BTreeMap<String, Cell>,
}

/// A reported number beside ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The quantity in words.
    pub quantity: String,
    /// Where the report says it.
    pub source: String,
    /// The report's number.
    pub reported: Cell,
    /// Ours, for each arm's id.
    pub ours: BTreeMap<String, Cell>,
    /// Whether the report's number lies in the interval of ours, in words.
    pub verdict: String,
}

/// What an experiment has to say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// The experiment's name; also the anchor.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What is asked.
    pub question: String,
    /// What was measured and how, in paragraphs.
    pub method: Vec<String>,
    /// Claims and what became of them.
    pub verdicts: Vec<Verdict>,
    /// Columns for the overview.
    pub headlines: Vec<Headline>,
    /// Tables and figures, in order.
    pub blocks: Vec<Block>,
    /// The report's numbers beside ours.
    pub comparisons: Vec<Comparison>,
    /// How and where it was run: names and values.
    pub provenance: Vec<(String, String)>,
}

impl Section {
    /// The same, begun by another section; its id, title and question stay.
    #[must_use]
    pub fn begun_by(mut self, mut first: Self) -> Self {
        let of_first =
            |(name, value): (String, String)| (format!("{name}: {}", first.title), value);
        let differing = first.provenance.drain(..);
        let differing: Vec<_> = differing
            .filter(|row| !self.provenance.contains(row))
            .map(of_first)
            .collect();
        // A paragraph that both have is said once.
        self.method.retain(|own| !first.method.contains(own));
        first.method.append(&mut self.method);
        first.verdicts.append(&mut self.verdicts);
        first.headlines.append(&mut self.headlines);
        first.blocks.append(&mut self.blocks);
        first.comparisons.append(&mut self.comparisons);
        self.provenance.extend(differing);
        Self {
            id: self.id,
            title: self.title,
            question: self.question,
            provenance: self.provenance,
            ..first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!(Style::Percent(1).number(0.98349), "98.3");
        assert_eq!(Style::Fixed(4).number(0.99), "0.9900");
        assert_eq!(Style::Digits(3).number(0.000_412_3), "0.000412");
        assert_eq!(Style::Digits(3).number(0.000_041_23), "4.12 × 10⁻⁵");
        assert_eq!(Style::Digits(2).number(1_234_567.0), "1.2 × 10⁶");
        assert_eq!(Style::Digits(3).number(4.07), "4.07");
        assert_eq!(Style::Percent(1).number(-0.15), "−15.0");
        assert_eq!(Style::Percent(1).number(-0.0001), "0.0");
        assert_eq!(Style::Digits(3).number(0.0), "0");
        assert_eq!(Style::Digits(3).number(9.996), "10.0");
        assert_eq!(Style::Digits(3).beside(0.000_067, 0.000_405), "0.000067");
        assert_eq!(Style::Digits(3).beside(0.5, 4.07), "0.50");
    }
}
