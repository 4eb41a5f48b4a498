//! Tables with one row per subject.

use bsbr_metrics::stats::{Interval, quantile};

use crate::estimate::Estimate;
use crate::experiment::Experiment;
use crate::present::layout::{ColumnSpec, Make, TableSpec};
use crate::present::subject::Subject;
use crate::present::votes::add_votes;
use crate::present::words::is_set;
use crate::present::{Place, View};
use crate::record::Pool;
use crate::section::{Cell, Column, Row, Style, Table};

/// The maximum number of columns in a table with standard deviations.
const MOST_DEVIATIONS: usize = 6;

/// The maximum number of columns in a table by parts of a name.
const MOST_PARTS: usize = 16;

impl<E: Experiment + ?Sized> View<'_, E> {
    /// The table; `None` if a required setting does not exist, or it has only recorded rows and
    /// nothing is recorded.
    pub(super) fn table(&self, spec: &TableSpec) -> Option<Table> {
        let method = &self.spec.method;
        if spec.when.as_ref().is_some_and(|name| !is_set(method, name)) {
            return None;
        }
        let length = self.length(spec.at.as_ref(), &self.source(spec.from.as_ref()));
        let places = self.places(spec);
        let column = |place: &Place| Column {
            key: place.key.clone(),
            title: place.title.clone(),
            better: place.better,
        };
        let columns: Vec<(Column, Style)> = places
            .iter()
            .map(|place| (column(place), place.style))
            .collect();
        let shown = |one: &&Subject| {
            let measured = |place: &Place| {
                let mut own = self.records.of(&one.id, place.from.pool(), place.length);
                own.next().is_some()
            };
            (!spec.arms_only || self.spec.arm(&one.id).is_some())
                && (!spec.recorded_only || places.iter().any(measured))
        };
        let subjects: Vec<Subject> = self.subjects.iter().filter(shown).cloned().collect();
        if spec.recorded_only && subjects.is_empty() {
            return None;
        }
        let words = self.words();
        let head = Table {
            id: spec.id.clone(),
            title: words.fill(&spec.title, length),
            note: words.fill(&spec.note, length),
            folded: spec.folded,
            ..Table::default()
        };
        let mut table = match spec.make {
            Make::Milliseconds | Make::Median | Make::Ratio => {
                let columns = columns.into_iter().map(|(column, _)| column).collect();
                self.times(head, &subjects, (columns, &places))
            }
            _ => by_estimate(head, &subjects, &columns, |subject, place| {
                self.estimate(&subject.id, &places[place])
            }),
        };
        if let Some(votes) = &spec.votes {
            let suffix = places.first().map_or("", |place| place.suffix.as_str());
            let own = subjects.into_iter().map(|one| {
                let id = format!("{}{suffix}", one.id);
                one.called(id)
            });
            let other = words.fill(&votes.beside, length);
            let own: Vec<Subject> = own.collect();
            add_votes(&mut table, &own, &other, &votes.label, self.records);
        }
        Some(table)
    }

    fn places(&self, spec: &TableSpec) -> Vec<Place> {
        let (from, at) = (spec.from.as_ref(), spec.at.as_ref());
        let styled = |place: Place, style: Option<Style>| Place {
            style: style.or(spec.style).unwrap_or(place.style),
            ..place
        };
        if let (Some(quantity), Some(by)) = (&spec.quantity, &spec.by) {
            let one = Place {
                suffix: spec.suffix.clone(),
                make: spec.make,
                ..styled(self.place(quantity, from, at), None)
            };
            let all = self.places_by(by, &one, spec.heading.as_deref());
            let step = all.len().div_ceil(MOST_PARTS).max(1);
            return all.into_iter().step_by(step).collect();
        }
        let place = |column: &ColumnSpec| {
            let own = match column {
                ColumnSpec::Plain(quantity) => Place {
                    make: spec.make,
                    ..styled(self.place(quantity, from, at), None)
                },
                ColumnSpec::Placed(one) => {
                    let place = self.placed(one, from, at);
                    styled(place, one.style)
                }
            };
            Place {
                suffix: self.words().fill(&spec.suffix, own.length),
                ..own
            }
        };
        spec.columns.iter().map(place).collect()
    }

    /// Medians with quartiles, and what [`Make`] adds.
    fn times(
        &self,
        head: Table,
        subjects: &[Subject],
        (columns, places): (Vec<Column>, &[Place]),
    ) -> Table {
        let cell = |subject: &Subject, place: &Place| {
            let at = (place.from.pool(), place.length, place.quantity.as_str());
            self.spread(&subject.id, at, place.make, place.style)
        };
        let rows = subjects.iter().map(|subject| Row {
            cells: places.iter().map(|place| cell(subject, place)).collect(),
            ..row(subject)
        });
        Table {
            corner: "Arm".to_owned(),
            columns,
            rows: rows.collect(),
            ..head
        }
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

/// A row without cells.
pub(super) fn row(subject: &Subject) -> Row {
    Row {
        head: subject.label.clone(),
        arm: subject.arm,
        default: subject.default,
        role: subject.role,
        cells: Vec::new(),
    }
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

/// A table of the estimates for subjects and columns, with the number of samples.
pub(crate) fn by_estimate(
    head: Table,
    subjects: &[Subject],
    columns: &[(Column, Style)],
    find: impl Fn(&Subject, usize) -> Result<Estimate, String>,
) -> Table {
    // With many columns, only the interval is shown.
    let crowded = columns.len() > MOST_DEVIATIONS;
    let one = |subject: &Subject, place: usize| -> Result<Estimate, String> {
        let found = find(subject, place)?;
        let std = found.std.filter(|_| !crowded);
        Ok(Estimate { std, ..found })
    };
    let rows = subjects.iter().map(|subject| {
        let places = 0..columns.len();
        let found: Vec<_> = places.map(|place| one(subject, place)).collect();
        // Columns of one table have the same samples; the row shows the smallest number.
        let least = found.iter().flatten().map(|e| e.n).min();
        let most = found.iter().flatten().map(|e| e.n).max();
        let n = match (least, most) {
            (Some(least), Some(most)) if least != most => Cell::Text(format!("{least}–{most}")),
            (n, _) => Cell::Number(n.unwrap_or_default() as f64, Style::Fixed(0)),
        };
        let styles = columns.iter().map(|(_, style)| *style);
        let mut cells: Vec<Cell> = found
            .into_iter()
            .zip(styles)
            .map(|(found, style)| Cell::of(found, style))
            .collect();
        cells.push(n);
        Row {
            cells,
            ..row(subject)
        }
    });
    let rows = rows.collect();
    let mut headings: Vec<Column> = columns.iter().map(|(column, _)| column.clone()).collect();
    headings.push(Column::from("n"));
    Table {
        corner: match head.corner.is_empty() {
            true => "Arm".to_owned(),
            false => head.corner,
        },
        columns: headings,
        rows,
        ..head
    }
}
