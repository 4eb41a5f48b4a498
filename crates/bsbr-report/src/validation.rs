//! Comparison of a fine-tuned model with the models that it was made from, on the validation
//! windows.

use std::fmt;

use bsbr_gpt2::Gpt2;
use bsbr_train::finetune::{Dataset, WindowLoss, held_out};
use serde::Serialize;

use crate::compare::{self, States};
use crate::error::ReportError;
use crate::estimate::Estimate;
use crate::render;
use crate::section::{Cell, Column, Row, Table};
use crate::style::Style;

/// The maximum number of windows for losses, from the first on.
const LOSSES: usize = 64;

/// The number of windows that are compared position by position.
const COMPARED: usize = 16;

/// A negligible difference: nats per token, half a percent of the perplexity.
const NOTICED: f64 = 5e-3;

/// A model's results on the validation windows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The model's name.
    pub name: String,
    /// Number of windows.
    pub windows: usize,
    /// Mean cross entropy per token, in nats.
    pub loss: f64,
    /// Its exponential.
    pub perplexity: f64,
    /// The difference to the dense model's loss on the same windows.
    pub beyond_dense: LossDifference,
    /// The share of positions with the dense model's top-1 token; `None` if logits cannot be
    /// compared.
    pub top1: Option<f64>,
    /// KL(dense ‖ model), nats per position; `None` likewise.
    pub kl: Option<f64>,
}

/// A difference with its 95 % bootstrap interval over windows; `None` for one window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossDifference {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

impl Side {
    /// A note if the loss relative to the dense model is negligible, else `None`.
    pub fn loses(&self) -> Option<&'static str> {
        let LossDifference { mean, low, .. } = self.beyond_dense;
        match low {
            Some(low) if low <= 0.0 => Some("nothing measurable"),
            _ if mean < NOTICED => Some("hardly anything"),
            _ => None,
        }
    }
}

fn nats(value: f64) -> String {
    Style::Fixed(4).number(value)
}

impl fmt::Display for LossDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&nats(self.mean))?;
        match self.low.zip(self.high) {
            Some((low, high)) => write!(f, " [{}, {}]", nats(low), nats(high)),
            None => Ok(()),
        }
    }
}

/// The results of the dense model and the others on the validation windows of `data`, in this
/// order; empty if there are none.
///
/// # Errors
///
/// [`ReportError`] if a window cannot be read or a model cannot take it.
pub fn sides(
    dense: &Gpt2,
    others: &[(&str, &Gpt2)],
    data: &Dataset,
) -> Result<Vec<Side>, ReportError> {
    let reference = held_out(dense, data, LOSSES)?;
    if reference.iter().all(|one| one.tokens == 0.0) {
        return Ok(Vec::new());
    }
    let mut sides = vec![side("dense", &reference, &reference, [1.0, 0.0].map(Some))];
    for (name, model) in others {
        let losses = held_out(model, data, LOSSES)?;
        let closeness = closeness(dense, model, data)?;
        sides.push(side(name, &losses, &reference, closeness));
    }
    Ok(sides)
}

/// Top-1 agreement and KL, if they can be measured.
type Closeness = [Option<f64>; 2];

fn side(name: &str, own: &[WindowLoss], dense: &[WindowLoss], [top1, kl]: Closeness) -> Side {
    let tokens: f64 = own.iter().map(|one| one.tokens).sum();
    let loss = own.iter().map(|one| one.nats).sum::<f64>() / tokens;
    // Windows are weighted by their targets.
    let share = own.len() as f64 / tokens;
    let beyond = own.iter().zip(dense);
    let beyond: Vec<f64> = beyond
        .map(|(own, dense)| (own.nats - dense.nats) * share)
        .collect();
    let found = Estimate::of(&beyond);
    let ends = found.and_then(|found| found.interval);
    Side {
        name: name.to_owned(),
        windows: own.len(),
        loss,
        perplexity: loss.exp(),
        beyond_dense: LossDifference {
            mean: found.map_or(0.0, |found| found.mean),
            low: ends.map(|ends| ends.low),
            high: ends.map(|ends| ends.high),
        },
        top1,
        kl,
    }
}

fn closeness(dense: &Gpt2, model: &Gpt2, data: &Dataset) -> Result<Closeness, ReportError> {
    let mut all = Vec::new();
    for window in data.validation().take(COMPARED) {
        let mut ids = window?.ids;
        ids.pop();
        let reference = States::last_of(dense, &ids)?;
        let own = [(model.clone(), States::last_of(model, &ids)?)];
        for scores in compare::positions(dense, &reference, &own, compare::score)? {
            match scores {
                Ok(scores) => all.extend(scores),
                Err(_) => return Ok([None; 2]),
            }
        }
    }
    Ok([
        compare::mean(&all, |_| true, |one| one.agreement.top1),
        compare::mean(&all, |_| true, |one| one.kl),
    ])
}

/// The results as a Markdown table.
pub fn markdown(sides: &[Side]) -> String {
    let columns = [
        "loss, nats per token",
        "perplexity",
        "loss − dense",
        "same most likely token as dense",
        "KL (dense ‖ row), nats",
    ];
    let row = |one: &Side| {
        let or_dash = |value: Option<f64>, style: Style| {
            value.map_or(Cell::from("—"), |value| Cell::Number(value, style))
        };
        Row {
            head: one.name.clone(),
            cells: vec![
                Cell::Text(nats(one.loss)),
                Cell::Number(one.perplexity, Style::Fixed(3)),
                Cell::Text(one.beyond_dense.to_string()),
                or_dash(one.top1, Style::Percent(2)),
                or_dash(one.kl, Style::Digits(3)),
            ],
            ..Row::default()
        }
    };
    let windows = sides.first().map_or(0, |one| one.windows);
    let table = Table {
        note: format!(
            "On {windows} held-out windows, with bootstrap 95 % intervals over windows in \
             brackets. Most likely tokens and KL are from the first {}.",
            windows.min(COMPARED)
        ),
        corner: "model".to_owned(),
        columns: columns.map(Column::from).to_vec(),
        rows: sides.iter().map(row).collect(),
        ..Table::default()
    };
    let table = render::aligned(&table);
    format!("### Dense, converted and tuned\n\n{table}")
}
