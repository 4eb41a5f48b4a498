//! The length from which on a row costs less than dense, and the growth of its
//! cost.

use crate::experiment::Experiment;
use crate::growth::{Crossover, Level, PowerLaw};
use crate::present::View;
use crate::present::layout::GrowthSpec;
use crate::present::subject::Subject;
use crate::present::table::row;
use crate::present::words::values;
use crate::record::{Pool, Records};
use crate::section::{Better, Cell, Column, Row, Table};
use crate::spec::{ArmSpec, dense};

/// The levels of a row, by its id.
type LevelsOf<'a> = dyn Fn(&str) -> Vec<Level> + 'a;

/// One quantity by length.
struct Curve<'a> {
    /// Its name in column headings.
    title: String,
    /// Whether the count of multiply-adds predicts it.
    predicted: bool,
    /// Its samples, by a row's id.
    levels: Box<LevelsOf<'a>>,
}

impl<E: Experiment + ?Sized> View<'_, E> {
    pub(super) fn growth(&self, spec: &GrowthSpec) -> Table {
        let method = &self.spec.method;
        let lengths = values(method, "lengths").unwrap_or_default();
        let longest = lengths.into_iter().max().unwrap_or_default();
        let from = method
            .settings
            .get("fit_from")
            .and_then(toml::Value::as_integer);
        let curves: Vec<Curve<'_>> = spec
            .curves
            .iter()
            .map(|curve| Curve {
                title: curve.title.clone(),
                predicted: curve.predicted,
                levels: Box::new(|id| {
                    self.records
                        .levels(id, Pool::Source(&curve.from), &curve.quantity)
                }),
            })
            .collect();
        Table {
            id: spec.id.clone(),
            title: spec.title.clone(),
            ..growth_table(
                &spec.words,
                (&method.arms, &self.subjects),
                &curves,
                [from.unwrap_or_default().unsigned_abs() as usize, longest],
                self.records,
            )
        }
    }
}

/// One row per subject: where it falls below dense, and how it grows.
fn growth_table(
    quantity: &str,
    (arms, subjects): (&[ArmSpec], &[Subject]),
    curves: &[Curve<'_>],
    [from, longest]: [usize; 2],
    records: &Records,
) -> Table {
    let mut columns = Vec::new();
    for curve in curves {
        let keyed = |key: &str, title: String, better| Column {
            key: format!("{}.{key}", curve.title),
            title,
            better,
        };
        let (title, less) = (&curve.title, Some(Better::Less));
        columns.push(keyed("below", format!("below dense from, {title}"), less));
        columns.push(keyed("exponent", format!("exponent, {title}"), less));
        if curve.predicted {
            let title = format!("exponent of multiply-adds, {title}");
            columns.push(keyed("predicted", title, None));
        }
    }
    let dense = dense(arms).map(|arm| arm.id.as_str());
    let head_dim = records
        .first()
        .map(|one| one.model.hidden_size / one.model.heads.max(1));
    let cells = |subject: &Subject| {
        let mut cells = Vec::new();
        for curve in curves {
            let own = (curve.levels)(&subject.id);
            cells.push(match dense {
                Some(id) if *id == subject.id => Cell::Text("—".to_owned()),
                Some(id) => below(&own, &(curve.levels)(id), longest),
                None => Cell::Missing("there is no dense row to compare with".to_owned()),
            });
            let fitted: Vec<Level> = own.into_iter().filter(|one| one.length >= from).collect();
            cells.push(power_law(&fitted));
            if curve.predicted {
                let arm = arms.iter().find(|arm| arm.id == subject.id);
                cells.push(match (head_dim, arm) {
                    (Some(head_dim), Some(arm)) => predicted(arm, &fitted, head_dim),
                    (_, None) => Cell::Missing("not an arm".to_owned()),
                    (None, _) => Cell::Missing("not measured yet".to_owned()),
                });
            }
        }
        cells
    };
    Table {
        note: format!(
            "The number of tokens from which a row's median {quantity} stays below that of \
             `dense`, interpolated between lengths, with a bootstrap 95 % interval (0: at every \
             length; ∞: at none measured); and the exponent b of a · nᵇ, fitted by least squares \
             to the logarithms of medians from {from} tokens, with its interval and R². Linear \
             growth has exponent 1, quadratic growth 2. *Multiply-adds* is the exponent of the \
             operations in the arm's definition, over the same lengths.",
        ),
        corner: "Arm".to_owned(),
        columns,
        rows: subjects
            .iter()
            .map(|subject| Row {
                cells: cells(subject),
                ..row(subject)
            })
            .collect(),
        ..Table::default()
    }
}

fn below(own: &[Level], dense: &[Level], longest: usize) -> Cell {
    match Crossover::of(own, dense) {
        Some(Crossover::At(tokens, interval)) => Cell::Derived {
            value: tokens,
            interval,
            text: format!("{tokens:.0}"),
            spread: interval.map_or_else(String::new, |one| Crossover::describe_interval(&one)),
        },
        Some(found) => Cell::Text(found.describe(longest)),
        None => Cell::Missing("not measured yet".to_owned()),
    }
}

fn power_law(levels: &[Level]) -> Cell {
    match PowerLaw::fit(levels) {
        Some(fit) => {
            let interval = fit.interval.map_or_else(String::new, |one| {
                format!("[{:.2}, {:.2}], ", one.low, one.high)
            });
            Cell::Derived {
                value: fit.exponent,
                interval: fit.interval,
                text: format!("{:.2}", fit.exponent),
                spread: format!("{interval}R² {:.3}", fit.r_squared),
            }
        }
        None => Cell::Missing("a fit needs three lengths".to_owned()),
    }
}

/// The exponent of the arm's multiply-adds over the same lengths.
fn predicted(arm: &ArmSpec, levels: &[Level], head_dim: usize) -> Cell {
    let counted = levels.iter().map(|level| Level {
        length: level.length,
        samples: vec![arm.config.multiply_adds(level.length, head_dim)],
    });
    match PowerLaw::fit(&counted.collect::<Vec<_>>()) {
        Some(fit) => Cell::Text(format!("{:.2}", fit.exponent)),
        None => Cell::Missing("a fit needs three lengths".to_owned()),
    }
}
