//! Levels of heads chosen with several budgets: cost and quality.

mod chosen;

use std::time::Instant;

use bsbr_attention::{ArmConfig, AttentionInput, HeadLevel};
use bsbr_convert::sweep_levels;
use bsbr_gpt2::{Block, Gpt2, TokenBatch};
use burn::tensor::Tensor;
use serde::Deserialize;

use crate::arms;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::common::relative;
use crate::experiments::frame::Frame;
use crate::experiments::measure::QUESTIONS;
use crate::experiments::sweep::{self, Trial};
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::{Measurement, Records};
use crate::rounds::wait_for;
use crate::section::Role;
use crate::spec::{ArmSpec, Spec, dense};

/// Version of the method.
pub const VERSION: u32 = 1;

/// The source of the unit that chooses levels.
pub const CHOICE: &str = "levels of heads";

/// Work per token of a text for the choice of levels, for each budget.
const CHOICE_EFFORT: f64 = 3.0;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The allowed rises of KL (dense ‖ arm) on the texts for the choice of levels, in nats per
    /// position.
    pub budgets: Vec<f64>,
    /// Tokens per text for the choice of levels.
    pub choosing_length: usize,
    /// What is measured with them.
    #[serde(flatten)]
    pub trial: sweep::Settings,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Texts for the choice of levels.
    pub choosing_texts: u64,
    /// Other texts, and questions.
    #[serde(flatten)]
    pub trial: sweep::Counts,
}

/// The experiment.
///
/// The first unit chooses the levels, on separate texts. The others use its record.
pub type LevelsOfHeads = Frame<Settings, Counts, ArmSpec>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Frame::<Settings, Counts>::new(spec)?;
    let lengths = [
        one.settings.choosing_length,
        one.settings.trial.length,
        one.settings.trial.distance,
    ];
    let [choosing, length, distance] = lengths;
    one.require(
        !lengths.contains(&0)
            && (choosing != length && length != distance && distance != choosing)
            && one.settings.trial.candidates >= 2,
        "settings",
        "`choosing_length`, `length` and `distance` must be above 0 and different, and \
         `candidates` at least 2",
    )?;
    let budgets = &one.settings.budgets;
    one.require(
        !budgets.is_empty()
            && budgets
                .iter()
                .all(|budget| budget.is_finite() && *budget >= 0.0),
        "settings",
        "`budgets` needs at least one number of nats, each 0 or more",
    )?;
    let message = "`choosing_texts` must be above 0";
    one.require(one.counts.choosing_texts > 0, "counts", message)?;
    let looks_up = |arm: &&ArmSpec| match &arm.config {
        ArmConfig::Moments(config) => arm.default && config.looks_up() && config.levels.is_empty(),
        _ => false,
    };
    let base = one.arms().iter().find(looks_up).cloned();
    let base = base
        .ok_or_else(|| one.refused("`arms` needs the default arm, with lookups in every head"))?;
    Ok(Box::new(one.with(base)))
}

impl LevelsOfHeads {
    /// The name in records of the default arm with the levels of a budget.
    fn id(&self, budget: f64) -> String {
        format!("{}-budget-{budget}", self.own.id)
    }

    /// The levels of each budget.
    fn choose(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        // No other measurement uses these texts.
        let length = unit.length.min(lab.dense().config().n_positions);
        let texts = self.counts.choosing_texts;
        let texts = lab.corpus().development(self.seed(), texts, length)?;
        let batches = texts.iter().map(|text| TokenBatch::single(text));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let model = lab.model(&self.own, self.seed());
        let model = model.map_err(|message| self.refused(message))?;
        let [layers, heads] = [model.config().n_layer, model.config().n_head];
        let found = sweep_levels(model, &batches, &self.settings.budgets)?;
        let new = |id: &str| Measurement::new(id, &unit.source, unit.length, 0);
        let alike = |level| vec![vec![level; heads]; layers];
        let mut all = Vec::new();
        for arm in self.arms() {
            let mut one = new(&arm.id);
            match &arm.config {
                _ if arm.id == self.own.id => {
                    chosen::record(&alike(HeadLevel::Lookups), &mut one);
                    if let Some((_, first)) = found.first() {
                        one.set("choice.kl", first.kl_before);
                    }
                }
                ArmConfig::Local(_) => {
                    chosen::record(&alike(HeadLevel::Near), &mut one);
                    one.without("choice.kl", "not measured on these texts");
                }
                _ => one = one.without_values("it has no levels of heads"),
            }
            all.push(one);
        }
        for (budget, (_, chosen)) in self.settings.budgets.iter().zip(found) {
            let mut one = new(&self.id(*budget));
            chosen::record(&chosen.levels, &mut one);
            one.set("choice.kl", chosen.kl_after);
            all.push(one);
        }
        Ok(all)
    }

    /// The model of each row, or why it is missing.
    fn models(&self, lab: &Lab, earlier: &Records) -> Vec<Result<Gpt2, String>> {
        let extension = self.settings.trial.extension;
        let shape = [lab.dense().config().n_layer, lab.dense().config().n_head];
        let one = |row: &Subject| {
            if let Some(arm) = self.spec.arm(&row.id) {
                return lab.model_for_any_length(arm, self.seed(), extension);
            }
            let length = self.settings.choosing_length;
            let levels = chosen::recorded(earlier, &row.id, length, shape)?;
            arms::with_levels(lab.dense(), &self.own.config, &levels)
                .map_err(|error| error.to_string())?
                .with_position_extension(lab.fitting(extension))
                .map_err(|error| error.to_string())
        };
        self.subjects().iter().map(one).collect()
    }

    /// Sets each row's quantities relative to those of the default arm on the same sample.
    fn beside_default(&self, all: &mut [Measurement]) {
        for name in ["kl", "among"] {
            let minus = format!("{name}.minus_default");
            relative(all, &self.own.id, [name, &minus], |own, base| own - base);
        }
        for name in ["seconds", "attention.seconds", "cache"] {
            let by = format!("{name}.by_default");
            relative(all, &self.own.id, [name, &by], |own, base| own / base);
        }
    }
}

/// Times the attention of all layers of each model on the dense model's inputs for a text.
fn time_attention(
    trial: &Trial<'_>,
    ids: &[u32],
    index: u64,
    measurements: &mut [Measurement],
) -> Result<(), ReportError> {
    let dense = trial.reference();
    let batch = TokenBatch::single(ids)?;
    let states = dense.all_hidden_states(&batch)?;
    let project = |(block, x): (&Block, Tensor<3>)| {
        block.attn.project(block.ln_1.forward(x), batch.padding())
    };
    let inputs: Vec<AttentionInput> = dense.h.iter().zip(states).map(project).collect();
    for turn in 0..trial.models.len() {
        let place = (turn + index as usize) % trial.models.len();
        let Ok(model) = &trial.models[place] else {
            continue;
        };
        let mut seconds = 0.0;
        for (block, input) in model.h.iter().zip(&inputs) {
            let input = input.clone();
            let start = Instant::now();
            let output = block.attn.bsbr.forward(input);
            let last = output.dims()[2].saturating_sub(1);
            wait_for(output.narrow(2, last, 1));
            seconds += start.elapsed().as_secs_f64();
        }
        measurements[place].set("attention.seconds", seconds);
    }
    let names = ["attention.seconds", "attention.speedup"];
    relative(measurements, trial.dense, names, |own, dense| dense / own);
    Ok(())
}

/// The size in bytes of the dense model's cache at this length.
fn dense_bytes(dense: &Gpt2, tokens: usize) -> f64 {
    let config = dense.config();
    (config.n_layer * tokens * 2 * config.n_embd * size_of::<f32>()) as f64
}

impl Experiment for LevelsOfHeads {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (counts, settings) = (&self.counts, &self.settings);
        let tried = settings.choosing_length as f64 * counts.choosing_texts as f64;
        let work = CHOICE_EFFORT * tried * settings.budgets.len() as f64;
        let choice = Unit::new(CHOICE, settings.choosing_length, 1, work);
        let rows = self.arms().len() + settings.budgets.len();
        let units = sweep::units(&settings.trial, &counts.trial, rows, lab)?;
        Ok([choice].into_iter().chain(units).collect())
    }

    /// The arms; the levels of the default arm follow it, by rising budget.
    fn subjects(&self) -> Vec<Subject> {
        let mut all = Subject::arms(self.arms());
        let colour = all.len();
        let row = |budget: &f64| Subject {
            id: self.id(*budget),
            label: format!("budget {budget}"),
            arm: Some(colour),
            default: false,
            role: Role::Competes,
        };
        let place = all.iter().position(|one| one.id == self.own.id);
        let place = place.map_or(all.len(), |place| place + 1);
        all.splice(place..place, self.settings.budgets.iter().map(row));
        all
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        self.run_after(unit, lab, &Records::default())
    }

    fn run_after(
        &self,
        unit: &Unit,
        lab: &Lab,
        earlier: &Records,
    ) -> Result<Vec<Measurement>, ReportError> {
        if unit.source == CHOICE {
            return self.choose(unit, lab);
        }
        let rows = self.subjects();
        let models = self.models(lab, earlier);
        let trial = Trial {
            lab,
            extension: self.settings.trial.extension,
            models: &models,
            dense: dense(self.arms()).map_or("", |arm| &arm.id),
        };
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let new = |row: &Subject| Measurement::new(&row.id, &unit.source, unit.length, index);
            let mut all: Vec<Measurement> = rows.iter().map(new).collect();
            trial.sample(self.seed(), self.settings.trial.candidates, &mut all)?;
            if unit.source != QUESTIONS {
                let ids = lab
                    .corpus()
                    .text(self.seed(), &unit.source, index, unit.length)?;
                time_attention(&trial, &ids, index, &mut all)?;
                let dense = dense_bytes(lab.dense(), ids.len());
                for one in &mut all {
                    if let Some(share) = one.values.get("cache").copied() {
                        one.set("cache.bytes", share * dense);
                    }
                }
            }
            self.beside_default(&mut all);
            measurements.append(&mut all);
        }
        Ok(measurements)
    }
}
