//! The contents of the section on choosing by length, besides its standard tables.

use bsbr_metrics::stats::quantile;

use crate::estimate::Estimate;
use crate::experiments::hybrid::{BESIDE_FORM, ByLength, CHOSEN, DENSE, HYBRID};
use crate::experiments::prelude::*;
use crate::quantity::Quantity;

/// The rows of the overview.
const ROWS: [&str; 5] = ["speedup", BESIDE_FORM, "kl", "top1", "cosine"];

/// Exactly zero.
const ZERO: Bounds = Bounds {
    at_least: Some(0.0),
    at_most: Some(0.0),
};

/// A quantity of the hybrid on texts or in the rounds after the choice.
fn estimate(records: &Records, length: usize, quantity: &str) -> Result<Estimate, String> {
    let from = match quantity {
        "speedup" | BESIDE_FORM => Pool::Source(CHOSEN),
        _ => Pool::Texts,
    };
    records.estimate(HYBRID, from, length, quantity)
}

impl ByLength {
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.settings.lengths.iter().copied()
    }

    /// The form that the hybrid uses at this length, or why it is unknown.
    fn form(&self, records: &Records, length: usize) -> Result<&ArmSpec, String> {
        let [dense, arm, _] = &self.own;
        match estimate(records, length, DENSE)?.mean {
            1.0 => Ok(dense),
            0.0 => Ok(arm),
            _ => Err("recorded with two boundaries; delete the records and run again".to_owned()),
        }
    }

    /// The boundary, and the gain at the longest sequence.
    pub(super) fn observation(&self, records: &Records) -> Option<String> {
        let longest = self.lengths().max()?;
        let label = &self.arm().label;
        let crossover = self.crossover(records)?;
        let faster = match crossover.tokens {
            0.0 => {
                "faster than dense at every length, so the hybrid always uses that arm".to_owned()
            }
            f64::INFINITY => format!(
                "not faster than dense up to {longest} tokens, so the hybrid always uses dense"
            ),
            tokens => format!(
                "faster than dense from {} tokens {} (interpolated between lengths, with a \
                 bootstrap 95 % interval). The hybrid uses dense up to there",
                grouped(tokens.round() as u64),
                crossover.brackets()
            ),
        };
        let mut text = format!("**Boundary**: the arm *{label}* is {faster}.");
        if let Ok(found) = estimate(records, longest, "speedup") {
            text.push_str(&format!(
                " At {}, it is {:.2} times as fast as dense.",
                plural(longest as u64, "token"),
                found.mean
            ));
        }
        Some(text)
    }

    /// Up to the boundary the hybrid equals the dense model, beyond it the arm, and it is as fast
    /// as its chosen form; each judged at its worst length.
    pub(super) fn judged(&self, records: &Records) -> Vec<Verdict> {
        let arm = self.arm();
        let as_fast = Bounds {
            at_most: Some(1.0 + self.settings.tolerance),
            ..Bounds::default()
        };
        let reads_dense = |length| Some(self.form(records, length).ok()?.is_dense());
        let exact = |length| {
            reads_dense(length).filter(|is| *is)?;
            estimate(records, length, "kl").ok()
        };
        let converted = |length| {
            reads_dense(length).filter(|is| !is)?;
            records.difference(HYBRID, &arm.id, Pool::Texts, length, "kl")
        };
        let slower = |length| estimate(records, length, BESIDE_FORM).ok();
        let to_dense = "Up to the boundary: largest KL (dense ‖ hybrid)";
        let from_arm = "Beyond the boundary: largest difference of KL from ".to_owned();
        let from_arm = from_arm + &arm.label;
        let to_form = "Largest time ÷ time of its chosen form in the same round";
        let all = [
            self.worst(to_dense, (ZERO, "kl"), exact),
            self.worst(&from_arm, (ZERO, "kl"), converted),
            self.worst(to_form, (as_fast, BESIDE_FORM), slower),
        ];
        all.into_iter().flatten().collect()
    }

    /// The verdict on a claim at the length where the quantity is largest.
    fn worst(
        &self,
        claim: &str,
        (bounds, quantity): (Bounds, &str),
        found: impl Fn(usize) -> Option<Estimate>,
    ) -> Option<Verdict> {
        let all = self.lengths();
        let all = all.filter_map(|length| Some((length, found(length)?)));
        let (length, found) = all.max_by(|(_, a), (_, b)| a.mean.abs().total_cmp(&b.mean.abs()))?;
        let style = self.quantity(quantity).style;
        let claim = format!("{claim}, at {}", plural(length as u64, "token"));
        Some(bounds.verdict(&claim, HYBRID, Cell::Measured(found, style), style))
    }

    fn quantity(&self, name: &str) -> Quantity {
        let found = self.spec.layout.quantities.find(name);
        found.cloned().unwrap_or_default()
    }

    /// All results of the hybrid, by length.
    pub(super) fn overview(&self, records: &Records) -> Table {
        let form = |length: usize| match self.form(records, length) {
            Ok(form) => Cell::Text(form.label.clone()),
            Err(reason) => Cell::Missing(reason),
        };
        let row = |head: &str, cell: &dyn Fn(usize) -> Cell| Row {
            head: head.to_owned(),
            cells: self.lengths().map(cell).collect(),
            ..Row::default()
        };
        let regret = |length| self.regret(records, length);
        let mut rows = vec![
            row("reads with", &form),
            row("median time ÷ faster of both", &regret),
        ];
        rows.extend(ROWS.map(|name| {
            let of = self.quantity(name);
            row(&of.title, &|length| {
                Cell::of(estimate(records, length, name), of.style)
            })
        }));
        let columns = self.lengths().map(|n| plural(n as u64, "token").into());
        Table {
            title: "The hybrid by length".to_owned(),
            note: "Times are from the rounds after the choice, closeness is measured on texts. \
                   Median time ÷ faster of both is 1 where the choice was right."
                .to_owned(),
            corner: "Hybrid".to_owned(),
            columns: columns.collect(),
            rows,
            ..Table::default()
        }
    }

    /// The cost of a wrong choice: 1 if the choice is right.
    fn regret(&self, records: &Records, length: usize) -> Cell {
        let median = |row: &ArmSpec| {
            let from = Pool::Source(CHOSEN);
            let seconds = records.values(&row.id, from, length, "seconds");
            quantile(&seconds, 0.5).ok()
        };
        match self.own.each_ref().map(median) {
            [Some(dense), Some(arm), Some(own)] => {
                Cell::Number(own / dense.min(arm), Style::Fixed(2))
            }
            _ => Cell::Missing("not all of them were timed".to_owned()),
        }
    }
}
