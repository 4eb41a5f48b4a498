//! The contents of the section on choosing by length, besides its standard tables.

use bsbr_metrics::stats::quantile;

use crate::estimate::Estimate;
use crate::experiments::hybrid::{BESIDE_FORM, ByLength, CHOSEN, DENSE, HYBRID};
use crate::growth::Crossover;
use crate::record::{Pool, Records};
use crate::section::{Cell, Row, Style, Table, Verdict};
use crate::spec::ArmSpec;
use crate::verdict::Bounds;

/// The format of time ratios.
const SPEEDUP: Style = Style::Fixed(2);

/// Exactly zero.
const ZERO: Bounds = Bounds {
    at_least: Some(0.0),
    at_most: Some(0.0),
};

fn style(quantity: &str) -> Style {
    match quantity {
        "kl" => Style::Digits(3),
        "cosine" => Style::Fixed(5),
        "top1" => Style::Percent(2),
        _ => SPEEDUP,
    }
}

/// An experiment and its records.
pub(super) struct View<'a> {
    experiment: &'a ByLength,
    records: &'a Records,
}

impl<'a> View<'a> {
    pub(super) fn new(experiment: &'a ByLength, records: &'a Records) -> Self {
        Self {
            experiment,
            records,
        }
    }

    fn lengths(&self) -> &[usize] {
        &self.experiment.settings.lengths
    }

    fn arm(&self) -> &ArmSpec {
        self.experiment.arm()
    }

    /// A quantity of texts or of the rounds after the choice.
    fn estimate(&self, id: &str, length: usize, quantity: &str) -> Result<Estimate, String> {
        let from = match quantity {
            "speedup" | BESIDE_FORM => Pool::Source(CHOSEN),
            _ => Pool::Texts,
        };
        self.records.estimate(id, from, length, quantity)
    }

    /// Whether the hybrid uses dense attention at this length; `None` if its records disagree.
    fn reads_dense(&self, length: usize) -> Result<Option<bool>, String> {
        let found = self.estimate(HYBRID, length, DENSE)?;
        Ok(match found.mean {
            1.0 => Some(true),
            0.0 => Some(false),
            _ => None,
        })
    }

    /// The lengths with dense attention, or those without.
    fn lengths_read(&self, dense: bool) -> impl Iterator<Item = usize> {
        let lengths = self.lengths().iter().copied();
        lengths.filter(move |&length| self.reads_dense(length) == Ok(Some(dense)))
    }

    /// The boundary, and the gain at the longest sequence.
    pub(super) fn observation(&self) -> Option<String> {
        let longest = self.lengths().iter().copied().max()?;
        let label = &self.arm().label;
        let crossover = self.experiment.crossover(self.records)?;
        let mut text = match crossover {
            Crossover::Always => format!(
                "**Boundary**: the arm *{label}* is faster than dense at every length, so the \
                 hybrid always uses that arm."
            ),
            Crossover::Never => format!(
                "**Boundary**: the arm *{label}* is not faster than dense up to {longest} tokens, \
                 so the hybrid always uses dense."
            ),
            Crossover::At(..) => format!(
                "**Boundary**: the arm *{label}* is faster than dense from {} tokens (interpolated \
                 between lengths, with a bootstrap 95 % interval). The hybrid uses dense up to \
                 there.",
                crossover.describe(longest)
            ),
        };
        if let Ok(found) = self.estimate(HYBRID, longest, "speedup") {
            text.push_str(&format!(
                " At {longest} tokens, it is {} times as fast as dense.",
                SPEEDUP.number(found.mean)
            ));
        }
        Some(text)
    }

    /// Goals about the hybrid.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let all = [self.exact(), self.converted(), self.as_fast()];
        all.into_iter().flatten().collect()
    }

    fn verdict(&self, claim: String, bounds: Bounds, found: Estimate, style: Style) -> Verdict {
        let measured = Cell::Measured(found, style);
        Verdict {
            claim,
            arm: self.experiment.own[2].label.clone(),
            required: bounds.words(style),
            judgement: bounds.judge(&measured),
            measured,
        }
    }

    /// Below the boundary it equals the dense model.
    fn exact(&self) -> Option<Verdict> {
        let (length, found) = self
            .lengths_read(true)
            .filter_map(|length| Some((length, self.estimate(HYBRID, length, "kl").ok()?)))
            .max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        Some(self.verdict(
            format!("Up to the boundary: largest KL (dense ‖ hybrid), at {length} tokens"),
            ZERO,
            found,
            style("kl"),
        ))
    }

    /// Above the boundary it equals the arm.
    fn converted(&self) -> Option<Verdict> {
        let (length, found) = self
            .lengths_read(false)
            .filter_map(|length| {
                let arm = &self.arm().id;
                let found = self
                    .records
                    .difference(HYBRID, arm, Pool::Texts, length, "kl")?;
                Some((length, found))
            })
            .max_by(|(_, a), (_, b)| a.mean.abs().total_cmp(&b.mean.abs()))?;
        Some(self.verdict(
            format!(
                "Beyond the boundary: largest difference of KL from {}, at {length} tokens",
                self.arm().label
            ),
            ZERO,
            found,
            style("kl"),
        ))
    }

    /// It is as fast as its chosen form.
    fn as_fast(&self) -> Option<Verdict> {
        let most = 1.0 + self.experiment.settings.tolerance;
        let (length, found) = self
            .lengths()
            .iter()
            .filter_map(|&length| Some((length, self.estimate(HYBRID, length, BESIDE_FORM).ok()?)))
            .max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
        Some(self.verdict(
            format!("Largest time ÷ time of its chosen form in the same round, at {length} tokens"),
            Bounds {
                at_most: Some(most),
                ..Bounds::default()
            },
            found,
            SPEEDUP,
        ))
    }

    /// All results of the hybrid, by length.
    pub(super) fn overview(&self) -> Table {
        const ROWS: [(&str, &str); 5] = [
            ("speedup", "speed-up over dense"),
            (BESIDE_FORM, "time ÷ chosen form"),
            ("kl", "KL (dense ‖ hybrid), nats"),
            ("top1", "top-1 agreement"),
            ("cosine", "cosine"),
        ];
        let [dense, arm, _] = &self.experiment.own;
        let read = |&length: &usize| match self.reads_dense(length) {
            Ok(Some(true)) => Cell::Text(dense.label.clone()),
            Ok(Some(false)) => Cell::Text(arm.label.clone()),
            Ok(None) => Cell::Missing(
                "recorded with two boundaries; delete the records and run again".to_owned(),
            ),
            Err(reason) => Cell::Missing(reason),
        };
        let row = |head: &str, cells: Vec<Cell>| Row {
            head: head.to_owned(),
            cells,
            ..Row::default()
        };
        let mut rows = vec![row("reads with", self.lengths().iter().map(read).collect())];
        rows.push(row(
            "median time ÷ faster of both",
            self.lengths().iter().map(|&n| self.regret(n)).collect(),
        ));
        rows.extend(ROWS.map(|(quantity, title)| {
            let cells = self.lengths().iter().map(|&length| {
                let found = self.estimate(HYBRID, length, quantity);
                Cell::of(found, style(quantity))
            });
            row(title, cells.collect())
        }));
        Table {
            title: "The hybrid by length".to_owned(),
            note: "Times are from the rounds after the choice, closeness is measured on texts. \
                   Median time ÷ faster of both is 1 where the choice was right."
                .to_owned(),
            corner: "Hybrid".to_owned(),
            columns: self
                .lengths()
                .iter()
                .map(|n| format!("{n} tokens").into())
                .collect(),
            rows,
            ..Table::default()
        }
    }

    /// The cost of a wrong choice: 1 if the choice is right.
    fn regret(&self, length: usize) -> Cell {
        let experiment = self.experiment;
        let [dense, arm, hybrid] = &experiment.own;
        let median = |row: &ArmSpec| {
            let all = self.records.of(&row.id, Pool::Source(CHOSEN), length);
            let seconds: Vec<f64> = all
                .filter_map(|one| one.values.get("seconds").copied())
                .collect();
            quantile(&seconds, 0.5).ok()
        };
        match (median(hybrid), median(dense), median(arm)) {
            (Some(own), Some(dense), Some(arm)) => Cell::Number(own / dense.min(arm), SPEEDUP),
            _ => Cell::Missing("not all of them were timed".to_owned()),
        }
    }
}
