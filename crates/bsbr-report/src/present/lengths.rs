//! Tables of recorded quantities by recorded lengths.

use std::collections::BTreeSet;

use crate::present::View;
use crate::present::layout::{LengthsSpec, RowsSpec};
use crate::present::subject::Subject;
use crate::quantity::part;
use crate::record::{Measurement, Pool};
use crate::section::{Cell, Column, Row, Table};
use crate::style::{Style, grouped};

impl View<'_> {
    /// The table, or one for each subject; those without rows are omitted.
    pub(super) fn lengths<'a>(&'a self, spec: &'a LengthsSpec) -> impl Iterator<Item = Table> + 'a {
        let subjects = self.subjects.chunks(match spec.each {
            true => 1,
            false => self.subjects.len().max(1),
        });
        subjects.filter_map(|subjects| self.lengths_of(spec, subjects))
    }

    fn lengths_of(&self, spec: &LengthsSpec, subjects: &[Subject]) -> Option<Table> {
        let (mut lengths, mut shown) = (BTreeSet::new(), Vec::new());
        for (index, rows) in spec.rows.iter().enumerate() {
            for subject in subjects {
                let all = self.records.measurements();
                let own = all.filter(|one| one.arm == subject.id && one.source == spec.from);
                let mut quantities = BTreeSet::new();
                for one in own {
                    // Only the first rows show why something is missing.
                    let found = recorded(one, &rows.quantity, index == 0);
                    if !found.is_empty() {
                        lengths.insert(one.length);
                    }
                    quantities.extend(found);
                }
                shown.extend(quantities.into_iter().map(|one| (subject, rows, one)));
            }
        }
        let row = |(subject, rows, quantity): (&Subject, &RowsSpec, &str)| {
            let cells = lengths.iter().map(|&at| {
                let at = (Pool::Source(&spec.from), at);
                self.of_length(subject, rows, quantity, at)
            });
            Row {
                head: self.head(subject, rows, quantity),
                ..subject.row(cells.collect())
            }
        };
        let mut rows: Vec<Row> = shown.into_iter().map(row).collect();
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
                .map(|at| Column::from(grouped(*at as u64)))
                .collect(),
            rows,
            ..Table::default()
        })
    }

    fn head(&self, subject: &Subject, rows: &RowsSpec, quantity: &str) -> String {
        let part = part(&rows.quantity, quantity).unwrap_or_default();
        let name = self.experiment.part_name(&rows.quantity, part, false);
        let head = rows.head.replace("{row}", &subject.label);
        head.replace("{part}", &name.unwrap_or_else(|| part.to_owned()))
    }

    fn of_length(
        &self,
        subject: &Subject,
        rows: &RowsSpec,
        quantity: &str,
        (from, length): (Pool<'_>, usize),
    ) -> Cell {
        let of = |quantity: &str| {
            let style = self.quantity(quantity).style;
            self.median(&subject.id, (from, length, quantity), rows.make, style)
        };
        let mut cell = of(quantity);
        let whole = rows.share_of.as_deref().map(of);
        if let (Some(whole), Cell::Derived { value, spread, .. }) =
            (whole.and_then(|one| one.value()), &mut cell)
        {
            *spread = format!("({})", Style::Percent(1).with_unit(*value / whole));
        }
        cell
    }
}

/// The measured quantities that a declared one stands for; with `reasons`, also one that is
/// missing for a reason.
fn recorded<'a>(one: &'a Measurement, declared: &'a str, reasons: bool) -> Vec<&'a str> {
    if declared.contains('*') {
        let names = one.values.keys().map(String::as_str);
        return names
            .filter(|name| part(declared, name).is_some())
            .collect();
    }
    let is = one.values.contains_key(declared) || reasons && one.reason(declared).is_some();
    Vec::from_iter(is.then_some(declared))
}
