//! The length from which on a row costs less than dense, and the growth of its
//! cost.

use crate::experiment::Experiment;
use crate::growth::{Crossover, Level, PowerLaw};
use crate::present::View;
use crate::present::layout::GrowthSpec;
use crate::present::subject::Subject;
use crate::present::words::values;
use crate::record::Pool;
use crate::section::{Better, Cell, Column, Table};
use crate::spec::{ArmSpec, dense};

impl<E: Experiment + ?Sized> View<'_, E> {
    /// One row per subject: where it falls below dense, and how it grows.
    pub(super) fn growth(&self, spec: &GrowthSpec) -> Table {
        let method = &self.spec.method;
        let lengths = values(method, "lengths").unwrap_or_default();
        let longest = lengths.into_iter().max().unwrap_or_default();
        let from = method.settings.get("fit_from");
        let from = from.and_then(toml::Value::as_integer).unwrap_or_default();
        let from = from.unsigned_abs() as usize;
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
                let from_source = Pool::Source(&curve.from);
                let levels = |id: &str| self.records.levels(id, from_source, &curve.quantity);
                let own = levels(&subject.id);
                cells.push(match dense {
                    Some(id) if *id == subject.id => Cell::Text("—".to_owned()),
                    Some(id) => below(&own, &levels(id), longest),
                    None => Cell::Missing("there is no dense row to compare with".to_owned()),
                });
                let fitted: Vec<Level> = own.into_iter().filter(|one| one.length >= from).collect();
                cells.push(power_law(&fitted));
                if curve.predicted {
                    cells.push(match (head_dim, self.spec.arm(&subject.id)) {
                        (Some(head_dim), Some(arm)) => predicted(arm, &fitted, head_dim),
                        (_, None) => Cell::Missing("not an arm".to_owned()),
                        (None, _) => Cell::Missing("not measured yet".to_owned()),
                    });
                }
            }
            subject.row(cells)
        };
        Table {
            id: spec.id.clone(),
            title: spec.title.clone(),
            note: format!(
                "The number of tokens from which a row's median {} stays below that of `dense`, \
                 interpolated between lengths, with a bootstrap 95 % interval (0: at every length; \
                 ∞: at none measured); and the exponent b of a · nᵇ, fitted by least squares to \
                 the logarithms of medians from {from} tokens, with its interval and R². Linear \
                 growth has exponent 1, quadratic growth 2. *Multiply-adds* is the exponent of the \
                 operations in the arm's definition, over the same lengths.",
                spec.words
            ),
            corner: "Arm".to_owned(),
            columns,
            rows: self.subjects.iter().map(cells).collect(),
            ..Table::default()
        }
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
