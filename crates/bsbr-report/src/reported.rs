//! The figures of the research report in our tables of the same quantities.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::ReportError;
use crate::section::{Block, Cell, Column, Role, Row, Section, Table};
use crate::spec::{parse, read, spec_error};

/// The file of the report's figures, beside the specifications.
pub const REPORT: &str = "report.toml";

/// The research report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Its title.
    pub title: String,
    /// The document that contains it.
    pub document: String,
    /// Additional information for the reader.
    pub note: String,
    /// Its methods, by experiment.
    #[serde(default, rename = "method")]
    methods: Vec<MethodText>,
    /// Its figures.
    #[serde(default, rename = "row")]
    rows: Vec<Figures>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MethodText {
    experiment: String,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    /// The id that claims refer to.
    #[serde(default)]
    id: Option<String>,
    /// Our experiment with the same quantity.
    experiment: String,
    /// Its table.
    table: String,
    label: String,
    /// Figures as printed, by the keys of the table's columns.
    values: BTreeMap<String, String>,
}

impl Reported {
    /// Reads [`REPORT`]; without that file there are no figures.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be read, or names an unknown experiment.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let report: Self = parse(path, &read(path)?)?;
        let rows = report.rows.iter().map(|row| &row.experiment);
        for experiment in rows.chain(report.methods.iter().map(|one| &one.experiment)) {
            crate::experiments::find(experiment)?;
        }
        for (index, row) in report.rows.iter().enumerate() {
            let twice = |other: &Figures| other.id.is_some() && other.id == row.id;
            if report.rows[..index].iter().any(twice) {
                return Err(spec_error(path, format!("{:?} occurs twice", row.id)));
            }
        }
        Ok(report)
    }

    /// Whether there is no report to compare with.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A sentence that introduces the report; empty without a title.
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

    /// Adds the figures and their methods to an experiment's section; returns the missing tables
    /// and columns.
    pub fn attach(&self, section: &mut Section) -> Vec<String> {
        let own = self.methods.iter();
        let own = own.filter(|one| one.experiment == section.id);
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
    /// Adds the figures to a table; returns the missing columns.
    fn put(&self, table: &mut Table) -> Vec<String> {
        let known = |key: &String| table.columns.iter().any(|column| column.key == *key);
        let missing = self.values.keys().filter(|key| !known(key));
        let missing = missing.map(|key| format!("{}: column {key}", self.table));
        let missing = missing.collect();
        let figure = |column: &Column| self.values.get(&column.key).cloned();
        let cell = |column| Cell::Text(figure(column).unwrap_or_default());
        table.rows.push(Row {
            head: self.label.clone(),
            role: Role::Reported,
            cells: table.columns.iter().map(cell).collect(),
            ..Row::default()
        });
        missing
    }
}
