//! Numbers of a row together with those of other models on the same samples.

use crate::estimate::Estimate;
use crate::paired::{closed, together};
use crate::present::layout::{Comparison, Statistic};
use crate::present::subject::Subject;
use crate::present::{Values, View};
use crate::section::{Better, Cell, Column, Row};

impl Comparison {
    /// The same with filled templates.
    pub(super) fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Difference(ids) => Self::Difference(ids.each_ref().map(|id| fill(id))),
            Self::Closed(ids) => Self::Closed(ids.each_ref().map(|id| fill(id))),
            other => other.clone(),
        }
    }

    /// Which direction is better.
    pub(super) fn better(&self) -> Option<Better> {
        matches!(self, Self::Closed(_)).then_some(Better::More)
    }
}

impl View<'_> {
    /// A number of one of several rows.
    pub(super) fn of_row(
        &self,
        row: &Subject,
        rows: &[Subject],
        of: &Values,
    ) -> Result<Estimate, String> {
        let values = (of.from.pool(), of.length, of.quantity.as_str());
        let unit = |mean: f64| match of.make {
            Statistic::Exponential => mean.exp(),
            _ => mean,
        };
        let id = |id: &String| id.replace("{row}", &row.id);
        match &of.beside {
            None => self.estimate(&row.id, of),
            Some(Comparison::Difference(ids)) => {
                let ids = ids.each_ref().map(id);
                let ids = ids.each_ref().map(String::as_str);
                together(self.records, ids, values, |means| {
                    let [one, other] = means.map(unit);
                    one - other
                })
            }
            Some(Comparison::Closed(ids)) => {
                let ids = ids.each_ref().map(id);
                let ids = ids.each_ref().map(String::as_str);
                let better = self.quantity(&of.quantity).better;
                closed(self.records, ids, values, unit, better)
            }
            Some(relative) => {
                let first = rows.iter().find(|one| one.arm == row.arm).unwrap_or(row);
                let [own, first] = [row, first].map(|one| self.estimate(&one.id, of));
                let (own, first) = (own?, first?);
                let (over, under) = match relative {
                    Comparison::FirstBy => (first.mean, own.mean),
                    _ => (own.mean, first.mean),
                };
                match under > 0.0 {
                    true => Ok(Estimate {
                        mean: over / under,
                        std: None,
                        interval: None,
                        ..own
                    }),
                    false => Err("the first value gives 0".to_owned()),
                }
            }
        }
    }
}

/// Adds a column with the titles of those whose whole interval is above or below 0.
pub(super) fn add_changes(title: &str, columns: &[Column], rows: &mut [Row]) -> Column {
    for row in rows {
        let intervals = columns.iter().zip(&row.cells);
        let intervals = intervals.filter_map(|(column, cell)| Some((column, cell.interval()?)));
        let intervals: Vec<_> = intervals.collect();
        let changed = intervals.iter().filter(|(_, one)| !one.contains(0.0));
        let changed: Vec<&str> = changed.map(|(column, _)| column.title.as_str()).collect();
        row.cells
            .push(match (intervals.is_empty(), changed.is_empty()) {
                (true, _) => Cell::Missing("a change needs two samples".to_owned()),
                (_, true) => Cell::Text("nothing".to_owned()),
                _ => Cell::Text(changed.join(", ")),
            });
    }
    Column::from(title)
}
