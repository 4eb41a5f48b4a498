//! Tables with one row per subject.

use bsbr_metrics::stats::{Interval, quantile};

use crate::estimate::Estimate;
use crate::experiment::Experiment;
use crate::present::beside::add_changes;
use crate::present::layout::{Beside, ColumnSpec, Make, Placed, TableSpec};
use crate::present::subject::Subject;
use crate::present::votes::add_votes;
use crate::present::words::{Words, is_set, values};
use crate::present::{Place, View};
use crate::record::Pool;
use crate::section::{Cell, Column, Row, Style, Table};

/// The maximum number of columns in a table with standard deviations.
const MOST_DEVIATIONS: usize = 6;

/// The maximum number of columns in a table by parts of a name.
const MOST_PARTS: usize = 16;

impl<E: Experiment + ?Sized> View<'_, E> {
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
        let length = self.length(spec.at.as_ref(), &self.source(spec.from.as_ref()));
        let words = Words {
            value,
            ..self.words(length)
        };
        let places = self.places(spec, &words);
        let column = |place: &Place| Column {
            key: place.key.clone(),
            title: place.title.clone(),
            better: place.better,
        };
        let columns: Vec<Column> = places.iter().map(column).collect();
        let own = spec.rows.as_ref();
        let own = own.map(|name| self.experiment.rows(name, self.records));
        let mut subjects = own.unwrap_or_else(|| self.subjects.clone());
        subjects.retain(|one| {
            let measured = |place: &Place| {
                let mut own = self.records.of(&one.id, place.from.pool(), place.length);
                own.next().is_some()
            };
            let arm = self.spec.arm(&one.id);
            (!spec.arms_only || arm.is_some())
                && (!spec.without_dense || arm.is_none_or(|arm| !arm.is_dense()))
                && (!spec.recorded_only || places.iter().any(measured))
        });
        if spec.recorded_only && subjects.is_empty() {
            return None;
        }
        let (mut columns, mut rows) = match spec.make {
            Make::Milliseconds | Make::Median | Make::Ratio => {
                let rows = subjects.iter().map(|subject| self.times(subject, &places));
                (columns, rows.collect())
            }
            _ => self.estimates(columns, &subjects, &places),
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
            let suffix = places.first().map_or("", |place| place.suffix.as_str());
            let ids = subjects.iter().map(|one| format!("{}{suffix}", one.id));
            let other = words.fill(&votes.beside);
            add_votes(&mut table, ids, &other, &votes.label, self.records);
        }
        Some(table)
    }

    fn places(&self, spec: &TableSpec, words: &Words<'_, E>) -> Vec<Place> {
        let of_table = |one: &Placed| {
            let place = self.placed(one, spec.from.as_ref(), spec.at.as_ref());
            let beside = one.beside.as_ref().or(spec.beside.as_ref());
            let beside = beside.map(|one| one.filled(|id| words.fill(id)));
            let at = place.length;
            let suffix = match place.suffix.is_empty() {
                true => Words { at, ..*words }.fill(&spec.suffix),
                false => place.suffix,
            };
            Place {
                make: one.make.unwrap_or(spec.make),
                style: one.style.or(spec.style).unwrap_or(place.style),
                better: beside.as_ref().map_or(place.better, Beside::better),
                beside,
                suffix,
                ..place
            }
        };
        let (Some(quantity), Some(by)) = (&spec.quantity, &spec.by) else {
            return spec
                .columns
                .iter()
                .map(|ColumnSpec(one)| of_table(one))
                .collect();
        };
        let one = of_table(&Placed {
            quantity: quantity.clone(),
            ..Placed::default()
        });
        let all = self.places_by(by, &one, spec.heading.as_deref());
        let step = all.len().div_ceil(MOST_PARTS).max(1);
        all.into_iter().step_by(step).collect()
    }

    /// Estimates for rows and columns, with the number of samples.
    fn estimates(
        &self,
        mut columns: Vec<Column>,
        subjects: &[Subject],
        places: &[Place],
    ) -> (Vec<Column>, Vec<Row>) {
        // With many columns, only the interval is shown.
        let crowded = columns.len() > MOST_DEVIATIONS;
        let one = |subject: &Subject| {
            let find = |place| -> Result<Estimate, String> {
                let found = self.of_row(subject, subjects, place)?;
                let std = found.std.filter(|_| !crowded);
                Ok(Estimate { std, ..found })
            };
            let found: Vec<_> = places.iter().map(find).collect();
            // Columns of one table have the same samples; otherwise the row shows the range.
            let least = found.iter().flatten().map(|e| e.n).min();
            let most = found.iter().flatten().map(|e| e.n).max();
            let n = match (least, most) {
                (Some(least), Some(most)) if least != most => Cell::Text(format!("{least}–{most}")),
                (n, _) => Cell::Number(n.unwrap_or_default() as f64, Style::Fixed(0)),
            };
            let cells = found.into_iter().zip(places);
            let cells = cells.map(|(found, place)| Cell::of(found, place.style));
            subject.row(cells.chain([n]).collect())
        };
        columns.push(Column::from("n"));
        (columns, subjects.iter().map(one).collect())
    }

    /// A row of medians with quartiles, and what [`Make`] adds.
    fn times(&self, subject: &Subject, places: &[Place]) -> Row {
        let cell = |place: &Place| {
            let at = (place.from.pool(), place.length, place.quantity.as_str());
            self.spread(&subject.id, at, place.make, place.style)
        };
        subject.row(places.iter().map(cell).collect())
    }

    /// A subject's median with its spread, or why there is none.
    pub(super) fn spread(
        &self,
        id: &str,
        (from, length, quantity): (Pool<'_>, usize, &str),
        make: Make,
        style: Style,
    ) -> Cell {
        let values = self.records.values(id, from, length, quantity);
        let found = match make {
            Make::Milliseconds => milliseconds(&values),
            _ => median(&values, make, style),
        };
        found.unwrap_or_else(|| {
            let found = self.records.estimate(id, from, length, quantity);
            Cell::Missing(found.err().unwrap_or_default())
        })
    }
}

/// Median and quartiles, for ratios with the interval of the median; `None` if empty.
fn median(values: &[f64], make: Make, style: Style) -> Option<Cell> {
    let found = Estimate::of_median(values)?;
    let beside = |value| style.beside(value, found.mean);
    let ends = found.interval;
    let mut spread = Vec::new();
    if values.len() > 1 {
        let [low, high] = [0.25, 0.75].map(|q| quantile(values, q).map(beside));
        spread.push(format!("[{}, {}]", low.ok()?, high.ok()?));
    }
    if let (Make::Ratio, Some(ends)) = (make, ends) {
        spread.push(format!("({}, {})", beside(ends.low), beside(ends.high)));
    }
    Some(Cell::Derived {
        value: found.mean,
        interval: ends,
        text: style.with_unit(found.mean),
        spread: spread.join(" "),
    })
}

/// Median, quartiles and mean of seconds, in milliseconds; `None` if empty.
fn milliseconds(seconds: &[f64]) -> Option<Cell> {
    let ms: Vec<f64> = seconds.iter().map(|seconds| seconds * 1e3).collect();
    let at = |q| quantile(&ms, q).ok();
    let (median, low, high) = (at(0.5)?, at(0.25)?, at(0.75)?);
    let style = Style::Digits(3);
    Some(Cell::Derived {
        value: median,
        interval: Some(Interval { low, high }),
        text: style.number(median),
        spread: format!(
            "[{}, {}] · {}",
            style.beside(low, median),
            style.beside(high, median),
            style.number(Estimate::of(&ms)?.mean)
        ),
    })
}
