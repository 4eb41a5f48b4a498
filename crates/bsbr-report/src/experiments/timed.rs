//! Tables and charts of what was timed in rounds.

use bsbr_metrics::stats::quantile;

use crate::estimate::Estimate;
use crate::experiments::common::{Column, by_arm, lines, short_length};
use crate::growth::Level;
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale::Scale;
use crate::section::{Cell, Picture, Row, Style, Table};
use crate::spec::ArmSpec;

/// How a ratio of times is written.
pub(super) const SPEEDUP: Style = Style::Fixed(2);

/// What was timed under one name, at some lengths.
#[derive(Clone, Copy)]
pub(super) struct Timed<'a> {
    pub records: &'a Records,
    /// The rows of tables and lines of charts.
    pub rows: &'a [ArmSpec],
    /// Tokens of a sequence.
    pub lengths: &'a [usize],
    /// The source of the measurements.
    pub scope: &'a str,
}

impl Timed<'_> {
    /// Seconds of every round.
    fn samples(&self, id: &str, length: usize) -> Vec<f64> {
        self.records
            .of(id, Pool::Source(self.scope), length)
            .filter_map(|one| one.values.get("seconds").copied())
            .collect()
    }

    /// A row's seconds at each length that has any.
    pub(super) fn levels(&self, id: &str) -> Vec<Level> {
        self.records.levels(id, Pool::Source(self.scope), "seconds")
    }

    /// The median of a row's seconds at one length.
    pub(super) fn median(&self, id: &str, length: usize) -> Option<f64> {
        quantile(&self.samples(id, length), 0.5).ok()
    }

    /// Medians with quartiles, and the mean.
    fn time(&self, id: &str, length: usize) -> Cell {
        let ms: Vec<f64> = self
            .samples(id, length)
            .iter()
            .map(|seconds| seconds * 1e3)
            .collect();
        let at = |q| quantile(&ms, q).ok();
        match (at(0.5), at(0.25), at(0.75), Estimate::of(&ms)) {
            (Some(median), Some(low), Some(high), Some(all)) => {
                let style = Style::Digits(3);
                Cell::Spread(
                    style.number(median),
                    format!(
                        "[{}, {}] · {}",
                        style.beside(low, median),
                        style.beside(high, median),
                        style.number(all.mean)
                    ),
                )
            }
            _ => {
                let from = Pool::Source(self.scope);
                let reason = self.records.estimate(id, from, length, "seconds");
                Cell::Missing(reason.err().unwrap_or_default())
            }
        }
    }

    /// Times by length.
    pub(super) fn times(&self, title: String) -> Table {
        let rows = self.rows.iter().enumerate().map(|(index, row)| Row {
            head: row.label.clone(),
            arm: Some(index),
            strong: row.default,
            cells: self
                .lengths
                .iter()
                .map(|&length| self.time(&row.id, length))
                .collect(),
        });
        Table {
            title,
            note: "Milliseconds: median [quartiles] · mean. Absolute times are this machine's; \
                   the ratios below are what carries over."
                .to_owned(),
            corner: "Arm".to_owned(),
            columns: self.lengths.iter().map(|n| format!("{n} tokens")).collect(),
            rows: rows.collect(),
            folded: false,
        }
    }

    /// Speed-ups over dense by length.
    pub(super) fn speedups(&self, title: String) -> Table {
        let columns: Vec<Column<'_>> = self
            .lengths
            .iter()
            .map(|&length| Column {
                title: format!("{length} tokens"),
                from: Pool::Source(self.scope),
                length,
                quantity: "speedup".to_owned(),
                style: SPEEDUP,
            })
            .collect();
        by_arm(
            title,
            "Time of `dense` in the same round divided by the row's own; above 1 is faster.",
            self.rows,
            self.records,
            &columns,
        )
    }

    /// Seconds by length, both axes logarithmic.
    pub(super) fn seconds_chart(&self, title: String) -> Picture {
        self.chart(title, "seconds", Scale::decades)
    }

    /// Speed-ups over dense by length.
    pub(super) fn speedup_chart(&self, title: String) -> Picture {
        self.chart(title, "speedup", |_, high| Scale::Linear {
            low: 0.0,
            high: high.max(1.0).ceil(),
        })
    }

    fn chart(&self, title: String, quantity: &str, scale: fn(f64, f64) -> Scale) -> Picture {
        let at = |length: usize| (length as f64).log2();
        let series = lines(self.rows, |arm| {
            let points = self.lengths.iter().map(|&length| {
                let from = Pool::Source(self.scope);
                let found = self.records.estimate(arm, from, length, quantity);
                Some((at(length), found.ok()?))
            });
            points.flatten().collect()
        });
        let all = series.iter().flat_map(|one| &one.points);
        let (low, high) = all.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), (_, e)| {
            (low.min(e.mean), high.max(e.mean))
        });
        LineChart {
            label: format!("{title}, a line for each row"),
            title,
            x_label: "tokens".to_owned(),
            x_ticks: self
                .lengths
                .iter()
                .map(|&length| (at(length), short_length(length)))
                .collect(),
            y: scale(low.min(high), high),
            series,
        }
        .draw()
    }
}
