//! Numbers of a row together with those of other models on the same samples.

use crate::estimate::Estimate;
use crate::experiment::Experiment;
use crate::paired::together;
use crate::present::layout::{Beside, Make};
use crate::present::subject::Subject;
use crate::present::{Place, View};
use crate::section::{Better, Cell, Column, Row};

impl Beside {
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

impl<E: Experiment + ?Sized> View<'_, E> {
    /// A number of one of several rows.
    pub(super) fn of_row(
        &self,
        row: &Subject,
        rows: &[Subject],
        place: &Place,
    ) -> Result<Estimate, String> {
        let own = || self.estimate(&row.id, place);
        match &place.beside {
            None => own(),
            Some(Beside::Difference(ids)) => {
                self.together(row, ids, place, |[one, other]| one - other)
            }
            Some(Beside::Closed(ids)) => self.closed(row, ids, place),
            Some(relative) => {
                let first = rows.iter().find(|one| one.arm == row.arm).unwrap_or(row);
                let (own, first) = (own()?, self.estimate(&first.id, place)?);
                let (over, under) = match relative {
                    Beside::FirstBy => (first.mean, own.mean),
                    _ => (own.mean, first.mean),
                };
                match under > 0.0 {
                    true => Ok(Estimate {
                        mean: over / under,
                        std: None,
                        interval: None,
                        n: own.n,
                    }),
                    false => Err("the first value gives 0".to_owned()),
                }
            }
        }
    }

    /// The result of `combine` from several models' numbers; samples are resampled together for
    /// all.
    fn together<const N: usize>(
        &self,
        row: &Subject,
        ids: &[String; N],
        place: &Place,
        combine: impl Fn([f64; N]) -> f64,
    ) -> Result<Estimate, String> {
        let ids = ids.each_ref().map(|id| id.replace("{row}", &row.id));
        let ids = ids.each_ref().map(String::as_str);
        let column = (place.from.pool(), place.length, place.quantity.as_str());
        together(self.records, ids, column, |means| {
            combine(means.map(|mean| match place.make {
                Make::Exponential => mean.exp(),
                _ => mean,
            }))
        })
    }

    /// The share of the gap between `before` and `goal` that `after` has closed.
    fn closed(&self, row: &Subject, ids: &[String; 3], place: &Place) -> Result<Estimate, String> {
        let gap = self.together(row, ids, place, |[before, _, goal]| before - goal)?;
        if gap.mean == 0.0 || gap.interval.is_some_and(|interval| interval.contains(0.0)) {
            return Err("no gap to close: its 95 % interval includes 0".to_owned());
        }
        let less = self.quantity(&place.quantity).better == Some(Better::Less);
        if less != (gap.mean > 0.0) {
            return Err("nothing to recover: it is better even before training".to_owned());
        }
        self.together(row, ids, place, |[before, after, goal]| {
            // Without negative zero.
            (before - after) / (before - goal) + 0.0
        })
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
