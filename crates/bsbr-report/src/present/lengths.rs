//! Tables of recorded quantities by recorded lengths.

use std::collections::BTreeSet;

use crate::experiment::Experiment;
use crate::present::View;
use crate::present::layout::{LengthsSpec, RowsSpec};
use crate::present::subject::Subject;
use crate::quantity::part;
use crate::record::{Measurement, Pool};
use crate::section::{Cell, Column, Row, Style, Table};

/// A subject's quantity, by its name in records.
struct Line<'a> {
    subject: &'a Subject,
    spec: &'a RowsSpec,
    quantity: String,
    /// Whether a reason for a missing value is shown.
    reasons: bool,
}

impl<E: Experiment + ?Sized> View<'_, E> {
    /// The table, or one for each subject; those without rows are omitted.
    pub(super) fn lengths<'a>(&'a self, spec: &'a LengthsSpec) -> impl Iterator<Item = Table> + 'a {
        let subjects = self.subjects.chunks(match spec.each {
            true => 1,
            false => self.subjects.len().max(1),
        });
        subjects.filter_map(|subjects| self.lengths_of(spec, subjects))
    }

    fn lengths_of(&self, spec: &LengthsSpec, subjects: &[Subject]) -> Option<Table> {
        let mut lines = Vec::new();
        for (index, rows) in spec.rows.iter().enumerate() {
            let reasons = index == 0;
            for subject in subjects {
                let names = self.names(&subject.id, &spec.from, &rows.quantity, reasons);
                lines.extend(names.into_iter().map(|quantity| Line {
                    subject,
                    spec: rows,
                    quantity,
                    reasons,
                }));
            }
        }
        let recorded = |one: &&Measurement| {
            let own = |line: &Line<'_>| {
                line.subject.id == one.arm && has(one, &line.quantity, line.reasons)
            };
            one.source == spec.from && lines.iter().any(own)
        };
        let lengths = self.records.measurements().filter(recorded);
        let lengths: BTreeSet<usize> = lengths.map(|one| one.length).collect();
        let mut rows: Vec<Row> = lines
            .iter()
            .map(|line| {
                let cells = lengths.iter().map(|&at| self.at(line, &spec.from, at));
                Row {
                    head: self.head(line),
                    ..line.subject.row(cells.collect())
                }
            })
            .collect();
        if spec.each {
            let last = |row: &Row| row.cells.last().and_then(Cell::value).unwrap_or_default();
            rows.sort_by(|a, b| last(b).total_cmp(&last(a)));
        }
        let subject = subjects.first().map_or("", |one| one.label.as_str());
        (!rows.is_empty()).then(|| Table {
            id: spec.id.clone(),
            title: spec.title.replace("{row}", subject),
            note: self.words(0).fill(&spec.note),
            corner: "tokens".to_owned(),
            columns: lengths
                .iter()
                .map(|at| Column::from(at.to_string()))
                .collect(),
            rows,
            ..Table::default()
        })
    }

    /// The names in records that a declared one stands for, of which a subject has values, or a
    /// reason why it has none.
    fn names(&self, id: &str, from: &str, declared: &str, reasons: bool) -> Vec<String> {
        let own = self.records.measurements();
        let own = own.filter(|one| one.arm == id && one.source == from);
        let names: BTreeSet<&str> = match declared.contains('*') {
            true => own
                .flat_map(|one| one.values.keys())
                .filter(|name| part(declared, name).is_some())
                .map(String::as_str)
                .collect(),
            false => own
                .filter(|one| has(one, declared, reasons))
                .map(|_| declared)
                .collect(),
        };
        names.into_iter().map(str::to_owned).collect()
    }

    fn head(&self, line: &Line<'_>) -> String {
        let declared = &line.spec.quantity;
        let part = part(declared, &line.quantity).unwrap_or_default();
        let name = self.experiment.part_name(declared, part, false);
        let head = line.spec.head.replace("{row}", &line.subject.label);
        head.replace("{part}", &name.unwrap_or_else(|| part.to_owned()))
    }

    fn at(&self, line: &Line<'_>, from: &str, length: usize) -> Cell {
        let (pool, id) = (Pool::Source(from), line.subject.id.as_str());
        let of = |quantity: &str| {
            let style = self.quantity(quantity).style;
            self.spread(id, (pool, length, quantity), line.spec.make, style)
        };
        let mut cell = of(&line.quantity);
        let whole = line.spec.share_of.as_deref().map(of);
        if let (Some(whole), Cell::Derived { value, spread, .. }) =
            (whole.and_then(|one| one.value()), &mut cell)
        {
            *spread = format!("({})", Style::Percent(1).with_unit(*value / whole));
        }
        cell
    }
}

/// Whether a quantity was measured, or there is a reason why it was not.
fn has(one: &Measurement, quantity: &str, reasons: bool) -> bool {
    one.values.contains_key(quantity) || reasons && one.reason(quantity).is_some()
}
