//! Tables with one row per subject.

use bsbr_metrics::stats::quantile;

use crate::estimate::Estimate;
use crate::present::beside::add_changes;
use crate::present::layout::{ColumnSpec, Comparison, Statistic, TableSpec, ValuesSpec};
use crate::present::subject::Subject;
use crate::present::votes::add_votes;
use crate::present::words::{Words, is_set, values};
use crate::present::{Values, View};
use crate::record::Pool;
use crate::section::{Cell, Column, Row, Table};
use crate::style::Style;

/// The maximum number of columns in a table with standard deviations.
const MAX_DEVIATIONS: usize = 6;

/// The maximum number of columns in a table by parts of a name.
const MAX_PARTS: usize = 16;

impl View<'_> {
    /// The table, or one for each value; none if a required setting does not exist, or if it has
    /// only recorded rows and nothing is recorded.
    pub(super) fn tables<'a>(&'a self, spec: &'a TableSpec) -> impl Iterator<Item = Table> + 'a {
        let method = &self.spec.method;
        let shown = spec.when.as_ref().is_none_or(|name| is_set(method, name));
        let each = spec.each.as_ref();
        let each = each.map(|name| values(method, name).unwrap_or_default());
        let each = each.map(|all| all.into_iter().filter(|&value| value > 0).map(Some));
        let mut all = each.map_or_else(|| vec![None], Iterator::collect);
        all.reverse();
        let all = all.into_iter().filter(move |_| shown).enumerate();
        all.filter_map(|(index, value)| {
            let table = self.table(spec, value)?;
            Some(Table {
                folded: spec.folded || index > 0,
                ..table
            })
        })
    }

    fn table(&self, spec: &TableSpec, value: Option<usize>) -> Option<Table> {
        let length = self.length(spec.of.at.as_ref(), &self.source(spec.of.from.as_ref()));
        let words = Words {
            value,
            ..self.words(length)
        };
        let shown = self.columns(spec, &words);
        let column = |of: &Values| Column {
            key: of.key.clone(),
            title: of.title.clone(),
            better: of.better,
        };
        let mut columns: Vec<Column> = shown.iter().map(column).collect();
        let own = spec.rows.as_ref();
        let own = own.map(|name| self.experiment.rows(name, self.records));
        let mut subjects = own.unwrap_or_else(|| self.subjects.clone());
        subjects.retain(|one| {
            let measured = |of: &Values| {
                let mut own = self.records.of(&one.id, of.from.pool(), of.length);
                own.next().is_some()
            };
            let arm = self.spec.arm(&one.id);
            (!spec.arms_only || arm.is_some())
                && (!spec.without_dense || arm.is_none_or(|arm| !arm.is_dense()))
                && (!spec.recorded_only || shown.iter().any(measured))
        });
        if spec.recorded_only && subjects.is_empty() {
            return None;
        }
        let rows = subjects.iter();
        let mut rows: Vec<Row> = match spec.of.make.unwrap_or_default() {
            Statistic::Milliseconds | Statistic::Median | Statistic::Ratio => rows
                .map(|subject| {
                    let cells = shown.iter().map(|of| {
                        let at = (of.from.pool(), of.length, of.quantity.as_str());
                        self.median(&subject.id, at, of.make, of.style)
                    });
                    subject.row(cells.collect())
                })
                .collect(),
            _ => {
                // With many columns, only the interval is shown.
                let crowded = columns.len() > MAX_DEVIATIONS;
                columns.push(Column::from("n"));
                rows.map(|subject| subject.row(self.means(subject, &subjects, &shown, crowded)))
                    .collect()
            }
        };
        if let Some(title) = &spec.changes {
            columns.push(add_changes(title, &columns, &mut rows));
        }
        let mut table = Table {
            id: spec.id.clone(),
            title: words.fill(&spec.title),
            note: words.fill(&spec.note),
            corner: spec.corner.clone().unwrap_or_else(|| "Arm".to_owned()),
            columns,
            rows,
            ..Table::default()
        };
        if let Some(votes) = &spec.votes {
            let suffix = shown.first().map_or("", |of| of.suffix.as_str());
            let ids = subjects.iter().map(|one| format!("{}{suffix}", one.id));
            let other = words.fill(&votes.beside);
            add_votes(&mut table, ids, &other, &votes.label, self.records);
        }
        Some(table)
    }

    /// The values of each column.
    fn columns(&self, spec: &TableSpec, words: &Words<'_>) -> Vec<Values> {
        let of_table = |one: &ValuesSpec| {
            let all = &spec.of;
            let values = self.declared(one, all.from.as_ref(), all.at.as_ref());
            let beside = one.beside.as_ref().or(all.beside.as_ref());
            let beside = beside.map(|one| one.filled(|id| words.fill(id)));
            let at = values.length;
            let suffix = match one.suffix.is_empty() {
                true => &all.suffix,
                false => &one.suffix,
            };
            Values {
                make: one.make.or(all.make).unwrap_or_default(),
                style: one.style.or(all.style).unwrap_or(values.style),
                better: beside.as_ref().map_or(values.better, Comparison::better),
                beside,
                suffix: Words { at, ..*words }.fill(suffix),
                ..values
            }
        };
        let Some(by) = &spec.by else {
            let columns = spec.columns.iter();
            return columns
                .map(|one| match one {
                    ColumnSpec::Quantity(quantity) => of_table(&ValuesSpec::of(quantity)),
                    ColumnSpec::Values(values) => of_table(values),
                })
                .collect();
        };
        let all = self.values_by(by, &of_table(&spec.of), spec.heading.as_deref());
        let step = all.len().div_ceil(MAX_PARTS).max(1);
        all.into_iter().step_by(step).collect()
    }

    /// A row of means, followed by the number of samples.
    fn means(
        &self,
        subject: &Subject,
        subjects: &[Subject],
        columns: &[Values],
        crowded: bool,
    ) -> Vec<Cell> {
        let find = |of: &Values| -> Result<Estimate, String> {
            let found = self.of_row(subject, subjects, of)?;
            let std = found.std.filter(|_| !crowded);
            Ok(Estimate { std, ..found })
        };
        let found: Vec<_> = columns.iter().map(find).collect();
        // Columns of one table have the same samples; otherwise the row shows the range.
        let least = found.iter().flatten().map(|e| e.n).min();
        let most = found.iter().flatten().map(|e| e.n).max();
        let n = match (least, most) {
            (Some(least), Some(most)) if least != most => Cell::Text(format!("{least}–{most}")),
            (n, _) => Cell::Number(n.unwrap_or_default() as f64, Style::Fixed(0)),
        };
        let cells = found.into_iter().zip(columns);
        let cells = cells.map(|(found, of)| Cell::of(found, of.style));
        cells.chain([n]).collect()
    }

    /// A subject's median with quartiles and what [`Statistic`] adds, or why there is none.
    pub(super) fn median(
        &self,
        id: &str,
        (from, length, quantity): (Pool<'_>, usize, &str),
        make: Statistic,
        style: Style,
    ) -> Cell {
        let values = self.records.values(id, from, length, quantity);
        median(values, make, style).unwrap_or_else(|| {
            let found = self.records.estimate(id, from, length, quantity);
            Cell::Missing(found.err().unwrap_or_default())
        })
    }
}

/// Median and quartiles, for ratios with the interval of the median, for seconds in milliseconds
/// with their mean; `None` if empty.
fn median(mut values: Vec<f64>, make: Statistic, mut style: Style) -> Option<Cell> {
    if make == Statistic::Milliseconds {
        style = Style::Digits(3);
        values.iter_mut().for_each(|seconds| *seconds *= 1e3);
    }
    let found = Estimate::of_median(&values)?;
    let mut spread = Vec::new();
    if values.len() > 1 {
        let [low, high] = [0.25, 0.75].map(|q| quantile(&values, q));
        spread.push(style.between([low.ok()?, high.ok()?], found.mean, ['[', ']']));
    }
    match (make, found.interval) {
        (Statistic::Ratio, Some(ends)) => {
            spread.push(style.between([ends.low, ends.high], found.mean, ['(', ')']));
        }
        (Statistic::Milliseconds, Some(_)) => {
            spread.push(format!("· {}", style.number(Estimate::of(&values)?.mean)));
        }
        _ => {}
    }
    Some(Cell::Derived {
        value: found.mean,
        interval: found.interval,
        samples: found.n,
        text: style.with_unit(found.mean),
        spread: spread.join(" "),
    })
}
