//! The table of crossovers and fitted power laws that time and memory share.

use crate::growth::{Crossover, Level, PowerLaw};
use crate::record::Records;
use crate::section::{Cell, Row, Table};
use crate::spec::ArmSpec;

use super::common::dense_place;

/// The levels of a row, by its id.
pub(super) type LevelsOf<'a> = dyn Fn(&str) -> Vec<Level> + 'a;

/// One quantity by length.
pub(super) struct Curve<'a> {
    /// Its name in column headings.
    pub title: String,
    /// Whether DESIGN's count of multiply-adds is a prediction of it.
    pub predicted: bool,
    /// Its samples for a row's id.
    pub levels: Box<LevelsOf<'a>>,
}

/// A row for each of `rows`: where it falls below dense, and how it grows.
pub(super) fn growth_table(
    title: &str,
    quantity: &str,
    rows: &[ArmSpec],
    curves: &[Curve<'_>],
    from: usize,
    longest: usize,
    records: &Records,
) -> Table {
    let mut columns = Vec::new();
    for curve in curves {
        columns.push(format!("below dense from, {}", curve.title));
        columns.push(format!("exponent, {}", curve.title));
        if curve.predicted {
            columns.push(format!("exponent of multiply-adds, {}", curve.title));
        }
    }
    let dense = dense_place(rows).map(|place| rows[place].id.clone());
    let head_dim = records
        .first()
        .map(|record| record.model.hidden_size / record.model.heads.max(1));
    let cells = |row: &ArmSpec| {
        let mut cells = Vec::new();
        for curve in curves {
            let own = (curve.levels)(&row.id);
            cells.push(match &dense {
                Some(id) if *id == row.id => Cell::Text("—".to_owned()),
                Some(id) => match Crossover::of(&own, &(curve.levels)(id)) {
                    Some(Crossover::At(tokens, Some(interval))) => Cell::Spread(
                        format!("{tokens:.0}"),
                        Crossover::describe_interval(&interval),
                    ),
                    Some(found) => Cell::Text(found.describe(longest)),
                    None => Cell::Missing("not measured yet".to_owned()),
                },
                None => Cell::Missing("there is no dense row to compare with".to_owned()),
            });
            let fitted: Vec<Level> = own.into_iter().filter(|one| one.length >= from).collect();
            cells.push(power_law(&fitted));
            if curve.predicted {
                cells.push(match head_dim {
                    Some(head_dim) => predicted(row, &fitted, head_dim),
                    None => Cell::Missing("not measured yet".to_owned()),
                });
            }
        }
        cells
    };
    Table {
        title: title.to_owned(),
        note: format!(
            "From how many tokens on a row's median {quantity} stays below that of `dense`, \
             interpolated between lengths, with a bootstrap 95 % interval (0: at every length; ∞: \
             at none measured); and b of a · nᵇ, fitted \
             by least squares to the logarithms of medians from {from} tokens on, with its interval \
             and R². n is 1, n² is 2; *multiply-adds* is b of the operations that the arm's \
             definition counts, over the same lengths.",
        ),
        corner: "Arm".to_owned(),
        columns,
        rows: rows
            .iter()
            .enumerate()
            .map(|(index, row)| Row {
                head: row.label.clone(),
                arm: Some(index),
                strong: row.default,
                cells: cells(row),
            })
            .collect(),
        folded: false,
    }
}

fn power_law(levels: &[Level]) -> Cell {
    match PowerLaw::fit(levels) {
        Some(fit) => {
            let interval = fit.interval.map_or_else(String::new, |one| {
                format!("[{:.2}, {:.2}], ", one.low, one.high)
            });
            Cell::Spread(
                format!("{:.2}", fit.exponent),
                format!("{interval}R² {:.3}", fit.r_squared),
            )
        }
        None => Cell::Missing("a fit needs three lengths".to_owned()),
    }
}

/// The exponent of the arm's multiply-adds over the same lengths.
fn predicted(row: &ArmSpec, levels: &[Level], head_dim: usize) -> Cell {
    let counted: Vec<Level> = levels
        .iter()
        .map(|level| Level {
            length: level.length,
            samples: vec![row.config.multiply_adds(level.length, head_dim)],
        })
        .collect();
    match PowerLaw::fit(&counted) {
        Some(fit) => Cell::Text(format!("{:.2}", fit.exponent)),
        None => Cell::Missing("a fit needs three lengths".to_owned()),
    }
}
