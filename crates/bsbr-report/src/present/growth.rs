//! The length from which on a row costs less than dense, and the growth of its
//! cost.

use crate::growth::{Crossover, Level, PowerLaw, fewest_samples};
use crate::present::View;
use crate::present::layout::GrowthSpec;
use crate::present::subject::Subject;
use crate::present::words::setting;
use crate::record::Pool;
use crate::section::{Better, Cell, Column, Table};
use crate::spec::{ArmSpec, dense};
use crate::style::{Style, grouped};

impl View<'_> {
    /// One row per subject: where it falls below dense, and how it grows.
    pub(super) fn growth(&self, spec: &GrowthSpec) -> Table {
        let method = &self.spec.method;
        let from = setting(method, "fit_from").unwrap_or_default();
        let dense = dense(&method.arms).map(|arm| arm.id.as_str());
        let first = self.records.first();
        let head_dim = first.map(|one| one.model.hidden_size / one.model.heads.max(1));
        let mut columns = Vec::new();
        for curve in &spec.curves {
            let mut add = |key: &str, title: &str, better| {
                columns.push(Column {
                    key: format!("{}.{key}", curve.title),
                    title: format!("{title}, {}", curve.title),
                    better,
                });
            };
            add("below", "below dense from", Some(Better::Less));
            add("exponent", "exponent", Some(Better::Less));
            if curve.predicted {
                add("predicted", "exponent of multiply-adds", None);
            }
        }
        let cells = |subject: &Subject| {
            let mut cells = Vec::new();
            for curve in &spec.curves {
                let source = Pool::Source(&curve.from);
                let levels = |id: &str| self.records.levels(id, source, &curve.quantity);
                let mut own = levels(&subject.id);
                cells.push(match dense {
                    Some(id) if *id == subject.id => Ok(Cell::from("—")),
                    Some(id) => below(&own, &levels(id), Style::Fixed(0)),
                    None => Err("there is no dense row to compare with".to_owned()),
                });
                own.retain(|level| level.length >= from);
                cells.push(exponent(&own, Style::Fixed(2)));
                if curve.predicted {
                    cells.push(match (head_dim, self.spec.arm(&subject.id)) {
                        (Some(head_dim), Some(arm)) => predicted(arm, &own, head_dim),
                        (_, None) => Err("not an arm".to_owned()),
                        (None, _) => Err("not measured yet".to_owned()),
                    });
                }
            }
            let cells = cells.into_iter();
            subject.row(cells.map(|one| one.unwrap_or_else(Cell::Missing)).collect())
        };
        let predicted = match spec.curves.iter().any(|curve| curve.predicted) {
            true => {
                " *Multiply-adds* is the exponent of the operations in the arm's definition, over \
                 the same lengths."
            }
            false => "",
        };
        Table {
            id: spec.id.clone(),
            title: spec.title.clone(),
            note: format!(
                "The number of tokens from which a row's median {} stays below that of `dense`, \
                 interpolated between lengths, with a bootstrap 95 % interval (0: at every length; \
                 ∞: at none measured); and the exponent b of a · nᵇ, fitted by least squares to \
                 the logarithms of medians from {} tokens, with its interval and R². Linear growth \
                 has exponent 1, quadratic growth 2.{predicted}",
                spec.words,
                grouped(from as u64)
            ),
            corner: "Arm".to_owned(),
            columns,
            rows: self.subjects.iter().map(cells).collect(),
            ..Table::default()
        }
    }
}

/// The length from which on `own` stays below `other`.
///
/// # Errors
///
/// The reason why there is none.
pub(crate) fn below(own: &[Level], other: &[Level], style: Style) -> Result<Cell, String> {
    let found = Crossover::of(own, other).ok_or("not measured yet")?;
    Ok(Cell::Derived {
        value: found.tokens,
        interval: found.interval,
        samples: fewest_samples(own.iter().chain(other)),
        text: found.words(style),
        spread: found.brackets(),
    })
}

/// The exponent of growth.
///
/// # Errors
///
/// The reason why there is none.
pub(crate) fn exponent(levels: &[Level], style: Style) -> Result<Cell, String> {
    let fit = PowerLaw::fit(levels).ok_or("a fit needs three lengths")?;
    let interval = fit.interval.map_or_else(String::new, |ends| {
        format!(
            "[{}, {}], ",
            style.number(ends.low),
            style.number(ends.high)
        )
    });
    Ok(Cell::Derived {
        value: fit.exponent,
        interval: fit.interval,
        samples: fewest_samples(levels),
        text: style.with_unit(fit.exponent),
        spread: format!("{interval}R² {:.3}", fit.r_squared),
    })
}

/// The exponent of the arm's multiply-adds over the same lengths.
fn predicted(arm: &ArmSpec, levels: &[Level], head_dim: usize) -> Result<Cell, String> {
    let counted = levels.iter().map(|level| Level {
        length: level.length,
        samples: vec![arm.config.multiply_adds(level.length, head_dim)],
    });
    let fit = PowerLaw::fit(&counted.collect::<Vec<_>>());
    let fit = fit.ok_or("a fit needs three lengths")?;
    Ok(Cell::Number(fit.exponent, Style::Fixed(2)))
}
