//! The figures of the research report, beside the tables that measure the same.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::ReportError;
use crate::section::{Block, Cell, Role, Row, Section, Style, Table};
use crate::spec::{parse, read, spec_error};

/// The file of the report's figures, beside the specifications.
pub const REPORT: &str = "report.toml";

/// The research report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Its title.
    pub title: String,
    /// What it is part of.
    pub document: String,
    /// What else a reader must know of it.
    pub note: String,
    /// How it measured, by experiment.
    #[serde(default, rename = "method")]
    methods: Vec<Method>,
    /// Its figures.
    #[serde(default, rename = "row")]
    rows: Vec<Figures>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    experiment: String,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    /// What claims refer to them by.
    #[serde(default)]
    id: Option<String>,
    /// Of ours, the experiment that measures the same.
    experiment: String,
    /// Its table.
    table: String,
    label: String,
    /// Figures as they are printed, by the keys of the table's columns.
    values: BTreeMap<String, String>,
}

impl Reported {
    /// Reads [`REPORT`]; without that file there are no figures.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where it cannot be read, or names an experiment that is not there.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let report: Self = parse(path, &read(path)?)?;
        let rows = report.rows.iter().map(|row| &row.experiment);
        for experiment in rows.chain(report.methods.iter().map(|one| &one.experiment)) {
            crate::experiments::version(experiment)?;
        }
        for (index, row) in report.rows.iter().enumerate() {
            let twice = |other: &Figures| other.id.is_some() && other.id == row.id;
            if report.rows[..index].iter().any(twice) {
                return Err(spec_error(path, format!("{:?} is there twice", row.id)));
            }
        }
        Ok(report)
    }

    /// The report in a sentence, for whoever meets it first; nothing where it has no title.
    pub fn cite(&self) -> String {
        if self.title.is_empty() {
            return String::new();
        }
        format!(
            "*The report* is “{}”, {}. {}",
            self.title, self.document, self.note
        )
    }

    /// A figure as printed, by `row:column`.
    pub fn figure(&self, name: &str) -> Option<&str> {
        let (id, key) = name.split_once(':')?;
        let row = self.rows.iter().find(|row| row.id.as_deref() == Some(id))?;
        row.values.get(key).map(String::as_str)
    }

    /// Puts the figures under an experiment's section, and how they were measured; gives the tables
    /// and columns that it lacks.
    pub fn attach(&self, section: &mut Section) -> Vec<String> {
        let own = self
            .methods
            .iter()
            .filter(|one| one.experiment == section.id);
        section.reported = own.map(|one| one.text.clone()).collect();
        let mut missing = Vec::new();
        for row in self.rows.iter().filter(|row| row.experiment == section.id) {
            let tables = section.blocks.iter_mut().filter_map(|block| match block {
                Block::Table(table) if table.id == row.table => Some(table),
                _ => None,
            });
            match tables.last() {
                Some(table) => missing.extend(row.put(table)),
                None => missing.push(format!("{}: table {}", section.id, row.table)),
            }
        }
        missing
    }
}

impl Figures {
    /// Puts the figures under a table; gives the columns that it lacks.
    fn put(&self, table: &mut Table) -> Vec<String> {
        let known = |key: &String| table.columns.iter().any(|column| column.key == *key);
        let missing = self.values.keys().filter(|key| !known(key));
        let missing = missing
            .map(|key| format!("{}: column {key}", self.table))
            .collect();
        let cell = |key: &str| match self.values.get(key) {
            Some(figure) => Cell::Text(figure.clone()),
            None => Cell::Text(String::new()),
        };
        table.rows.push(Row {
            head: self.label.clone(),
            role: Role::Reported,
            cells: table
                .columns
                .iter()
                .map(|column| cell(&column.key))
                .collect(),
            ..Row::default()
        });
        missing
    }
}

/// How a number of an overview is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A share, as a percentage.
    Percent,
    /// Three significant digits.
    #[default]
    Number,
    /// Four decimals, for cosines.
    Cosine,
    /// Two decimals, for ratios and exponents.
    Ratio,
    /// Whole tokens.
    Tokens,
    /// A whole number.
    Whole,
}

impl Form {
    /// The style that it is.
    pub fn style(self) -> Style {
        match self {
            Self::Percent => Style::Percent(1),
            Self::Number => Style::Digits(3),
            Self::Cosine => Style::Fixed(4),
            Self::Ratio => Style::Fixed(2),
            Self::Tokens => Style::Tokens,
            Self::Whole => Style::Fixed(0),
        }
    }
}
