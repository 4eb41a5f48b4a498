//! The results of an experiment, before rendering as Markdown or HTML.

use std::collections::BTreeMap;

use bsbr_metrics::stats::Interval;
use serde::Deserialize;

use crate::estimate::Estimate;
use crate::style::Style;
use crate::verdict::Judgement;

/// Which direction of a quantity is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Higher values are better.
    More,
    /// Lower values are better.
    Less,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number without spread.
    Number(f64, Style),
    /// A quantity over samples.
    Measured(Estimate, Style),
    /// A value from samples other than their mean.
    Derived {
        /// The number.
        value: f64,
        /// Its 95 % interval.
        interval: Option<Interval>,
        /// The number of samples.
        samples: usize,
        /// The text shown first.
        text: String,
        /// Its spread.
        spread: String,
    },
    /// A verdict.
    Judged(Judgement),
    /// A missing value, and its reason.
    Missing(String),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    /// A measured cell, or a missing one with its reason.
    pub fn of(estimate: Result<Estimate, String>, style: Style) -> Self {
        match estimate {
            // Such as a perplexity per word of a text without spaces.
            Ok(estimate) if !estimate.is_finite() => {
                Self::Missing("too large for a number".to_owned())
            }
            Ok(estimate) => Self::Measured(estimate, style),
            Err(reason) => Self::Missing(reason),
        }
    }

    /// The number, if any.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Number(value, _) | Self::Derived { value, .. } => Some(*value),
            Self::Measured(found, _) => Some(found.mean),
            Self::Text(_) | Self::Judged(_) | Self::Missing(_) => None,
        }
    }

    /// Whether it is text with words.
    pub fn is_words(&self) -> bool {
        match self {
            Self::Text(text) => text.contains(char::is_alphabetic),
            Self::Judged(_) => true,
            _ => false,
        }
    }

    /// The 95 % interval, if any.
    pub fn interval(&self) -> Option<Interval> {
        match self {
            Self::Measured(found, _) => found.interval,
            Self::Derived { interval, .. } => *interval,
            _ => None,
        }
    }

    /// The number of samples of a measured or derived cell.
    pub fn samples(&self) -> Option<usize> {
        match self {
            Self::Measured(found, _) => Some(found.n),
            Self::Derived { samples, .. } => Some(*samples),
            _ => None,
        }
    }

    /// The text shown first, without a spread.
    pub fn main(&self) -> String {
        match self {
            Self::Text(text) | Self::Derived { text, .. } => text.clone(),
            Self::Number(value, style) => style.with_unit(*value),
            Self::Measured(found, style) => style.with_unit(found.mean),
            Self::Judged(judgement) => judgement.words(),
            Self::Missing(_) => "—".to_owned(),
        }
    }

    /// The ends of the interval in brackets, with the precision of the number.
    pub fn brackets(&self) -> Option<String> {
        match self {
            Self::Measured(found, style) => {
                let ends = found.interval?;
                Some(style.between([ends.low, ends.high], found.mean, ['[', ']']))
            }
            Self::Derived { spread, .. } => (!spread.is_empty()).then(|| spread.clone()),
            _ => None,
        }
    }

    /// The standard deviation, with the precision of the number.
    pub fn deviation(&self) -> Option<String> {
        match self {
            Self::Measured(found, style) => found
                .std
                .map(|std| format!("± {}", style.beside(std, found.mean))),
            _ => None,
        }
    }
}

/// A row's role in the choice of a column's best value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It competes for the best value.
    Competes,
    /// A baseline, or not a model.
    #[default]
    Beside,
    /// Figures of the research report.
    Reported,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// The subject of the row.
    pub head: String,
    /// The arm whose colour marks the row, by its index in the specification.
    pub arm: Option<usize>,
    /// Whether it is the default arm.
    pub default: bool,
    /// Whether it competes for the best value.
    pub role: Role,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Column {
    /// The key that figures of the report refer to; empty if there are none.
    pub key: String,
    /// Its title.
    pub title: String,
    /// Which direction of its numbers is better.
    pub better: Option<Better>,
}

impl<T: Into<String>> From<T> for Column {
    fn from(title: T) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The id that figures of the report refer to; empty if there are none.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A note for the reader.
    pub note: String,
    /// Title of the column of row heads.
    pub corner: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether it is long, and collapsed on the page.
    pub folded: bool,
}

impl Table {
    /// Whether a cell is the best of its column, among the competing rows, unless all are equal.
    pub fn is_best(&self, row: usize, column: usize) -> bool {
        let better = self.columns.get(column).and_then(|one| one.better);
        let competing = || self.rows.iter().filter(|row| row.role == Role::Competes);
        let cells = || competing().filter_map(|row| row.cells.get(column));
        let numbers = cells().filter_map(|cell| Some((cell.value()?, cell)));
        let best = match better {
            Some(Better::More) => numbers.max_by(|(a, _), (b, _)| a.total_cmp(b)),
            Some(Better::Less) => numbers.min_by(|(a, _), (b, _)| a.total_cmp(b)),
            None => None,
        };
        let Some((_, best)) = best else {
            return false;
        };
        // Numbers with equal text are equally good.
        let is_best = |cell: &Cell| cell.value().is_some() && cell.main() == best.main();
        let own = self.rows.get(row).filter(|row| row.role == Role::Competes);
        own.and_then(|row| row.cells.get(column))
            .is_some_and(is_best)
            && !cells().all(is_best)
    }

    /// Whether a column has words, apart from figures of the report; it is aligned to the left.
    pub fn has_words(&self, column: usize) -> bool {
        let own = self.rows.iter().filter(|row| row.role != Role::Reported);
        let mut cells = own.filter_map(|row| row.cells.get(column));
        cells.any(Cell::is_words)
    }

    /// The numbers with their intervals as comma-separated values.
    pub fn csv(&self) -> String {
        let spread = |at: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.cells.get(at));
            cells.any(|cell| cell.interval().is_some())
        };
        let mut head = vec![quoted(&self.corner)];
        for (at, column) in self.columns.iter().enumerate() {
            head.push(quoted(&column.title));
            if spread(at) {
                head.extend(["low", "high"].map(|end| quoted(&format!("{}, {end}", column.title))));
            }
        }
        let mut lines = vec![head.join(",")];
        for row in &self.rows {
            let mut line = vec![quoted(&row.head)];
            for (at, cell) in row.cells.iter().enumerate() {
                line.push(match (cell.value(), cell) {
                    (Some(value), _) => value.to_string(),
                    (None, Cell::Missing(_)) => String::new(),
                    (None, text) => quoted(&text.main()),
                });
                if spread(at) {
                    let ends = cell.interval();
                    line.extend(match ends.map(|ends| [ends.low, ends.high]) {
                        Some(ends) => ends.map(|end| end.to_string()),
                        None => Default::default(),
                    });
                }
            }
            lines.push(line.join(","));
        }
        lines.join("\n") + "\n"
    }
}

/// A field of comma-separated values.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A picture of a figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// The content of an `<svg>` element.
    Svg {
        /// Height of its view box; the width of all is the same.
        height: f64,
        /// The elements.
        body: String,
        /// A description for screen readers.
        label: String,
    },
    /// A PNG image.
    Png {
        /// The file.
        bytes: Vec<u8>,
        /// A description for screen readers.
        label: String,
    },
}

/// A group of one or more pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its file name without extension.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A note for the reader.
    pub note: String,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// Number of pictures side by side, if there is room.
    pub columns: usize,
}

/// A quoted text.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The author or kind of the text.
    pub head: String,
    /// The arm whose colour marks it, by its index in the specification.
    pub arm: Option<usize>,
    /// The text, one paragraph per line.
    pub text: String,
}

impl Quote {
    /// Its paragraphs; an empty text is labelled as such.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let empty = self.text.trim().is_empty().then_some("(empty)");
        let lines = self.text.lines().filter(|line| !line.trim().is_empty());
        empty.into_iter().chain(lines)
    }
}

/// Texts for reading in sequence, collapsed on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Quotes {
    /// Their title.
    pub title: String,
    /// How they were chosen.
    pub note: String,
    /// The texts.
    pub quotes: Vec<Quote>,
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
    Quotes(Quotes),
}

/// The verdict on a goal of an experiment or a statement of the overview.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The claim, as text.
    pub claim: String,
    /// The label of the arm that decides.
    pub arm: String,
    /// Whether it is the default arm.
    pub of_default: bool,
    /// The requirement, as text.
    pub required: String,
    /// The measured value.
    pub measured: Cell,
    /// The judgement.
    pub judgement: Judgement,
    /// Whether it is shown without affecting its conclusion.
    pub observation: bool,
    /// The experiment, if the verdict is outside of its section, and the page has that.
    pub section: Option<String>,
    /// The reason, in one sentence; empty if the requirement says it.
    pub why: String,
}

/// A column of the overview: one number per arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Headline {
    /// The quantity.
    pub title: String,
    /// The data.
    pub note: String,
    /// Which direction is better.
    pub better: Option<Better>,
    /// A cell for each arm's id.
    pub cells: BTreeMap<String, Cell>,
}

/// The section of an experiment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// The experiment's name; also the anchor.
    pub id: String,
    /// Heading.
    pub title: String,
    /// The question.
    pub question: String,
    /// The method, in paragraphs.
    pub method: Vec<String>,
    /// Goals and verdicts.
    pub verdicts: Vec<Verdict>,
    /// The research report's method for the same quantity; empty if there is none.
    pub reported: Vec<String>,
    /// Columns for the overview.
    pub headlines: Vec<Headline>,
    /// Tables and figures, in order.
    pub blocks: Vec<Block>,
    /// How and where it was run: names and values.
    pub provenance: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_marked_among_those_that_compete() {
        let row = |role, value: f64| Row {
            role,
            cells: vec![
                Cell::Number(value, Style::Fixed(1)),
                Cell::Text("x".to_owned()),
            ],
            ..Row::default()
        };
        let mut table = Table {
            columns: vec![
                Column {
                    better: Some(Better::More),
                    ..Column::from("a")
                },
                Column::from("b, c"),
            ],
            corner: "Arm".to_owned(),
            rows: vec![
                row(Role::Beside, 9.0),
                row(Role::Competes, 2.0),
                row(Role::Competes, 1.99),
                row(Role::Competes, 1.0),
            ],
            ..Table::default()
        };
        let best =
            |table: &Table| -> Vec<bool> { (0..4).map(|row| table.is_best(row, 0)).collect() };
        assert_eq!(best(&table), [false, true, true, false]);
        assert!(!table.is_best(1, 1));
        assert_eq!(table.csv(), "Arm,a,\"b, c\"\n,9,x\n,2,x\n,1.99,x\n,1,x\n");
        table.rows.truncate(3);
        assert_eq!(
            best(&table)[..3],
            [false; 3],
            "where all are the best, none is marked"
        );
        table.columns[0].better = Some(Better::Less);
        table.rows.push(row(Role::Competes, 1.0));
        assert_eq!(best(&table), [false, false, false, true]);
    }
}
