//! Levels of heads chosen with several budgets: cost and quality.

use std::time::Instant;

use bsbr_attention::{ArmConfig, AttentionInput, HeadLevel};
use bsbr_convert::sweep_levels;
use burn::tensor::Tensor;

use crate::experiments::prelude::*;
use crate::experiments::sweep::{self, Trial};
use crate::rounds::compare;
use crate::section::Role;

/// The source of the unit that chooses levels.
pub const CHOICE: &str = "levels of heads";

/// Work per token of a text for the choice of levels, for each budget.
const CHOICE_EFFORT: f64 = 3.0;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The allowed rises of KL (dense ‖ arm) on the texts for the choice of levels, in nats per
    /// position.
    pub budgets: Vec<f64>,
    /// Tokens per text for the choice of levels.
    pub choosing_length: usize,
    /// Texts for the choice of levels.
    pub choosing_texts: u64,
    /// What is measured with them: other texts, and questions.
    #[serde(flatten)]
    pub trial: sweep::Settings,
}

/// Every level, with the quantity that records the number of its heads.
const LEVELS: [(HeadLevel, &str); 3] = [
    (HeadLevel::Near, "heads.near"),
    (HeadLevel::Clusters, "heads.clusters"),
    (HeadLevel::Lookups, "heads.lookups"),
];

/// The quantity that records a head's level.
fn level_name(layer: usize, head: usize) -> String {
    format!("level.{layer:02}.{head:02}")
}

/// Records the number of heads with each level, and the level of each head.
fn record_levels(levels: &[Vec<HeadLevel>], one: &mut Measurement) {
    for (level, quantity) in LEVELS {
        let own = levels.iter().flatten().filter(|of| **of == level);
        one.set(quantity, own.count() as f64);
    }
    for (layer, heads) in levels.iter().enumerate() {
        for (head, level) in heads.iter().enumerate() {
            let place = LEVELS.iter().position(|(of, _)| of == level);
            one.set(level_name(layer, head), place.unwrap_or_default() as f64);
        }
    }
}

/// The levels chosen for a row, layer by layer, or why there are none.
fn recorded_levels(
    records: &Records,
    id: &str,
    length: usize,
    [layers, heads]: [usize; 2],
) -> Result<Vec<Vec<HeadLevel>>, String> {
    let one = records.of(id, Pool::Source(CHOICE), length).next();
    let one = one.ok_or("levels have not been chosen yet")?;
    let level = |layer, head| {
        let value = one.values.get(&level_name(layer, head));
        let known = value.and_then(|value| LEVELS.get(*value as usize));
        let missing = || format!("no level is recorded for head {head} of layer {layer}");
        known.map(|(level, _)| *level).ok_or_else(missing)
    };
    (0..layers)
        .map(|layer| (0..heads).map(|head| level(layer, head)).collect())
        .collect()
}

/// The experiment.
///
/// The first unit chooses the levels, on separate texts. The others use its record.
pub type LevelsOfHeads = Frame<Settings, ArmSpec>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let ones = ["choosing_length", "length", "distance", "choosing_texts"];
    let ones = [&ones[..], &["budgets"]].concat();
    let one = Frame::<Settings>::read(spec, &ones, &["candidates"])?;
    let settings = &one.settings;
    let trial = &settings.trial;
    let lengths = [settings.choosing_length, trial.length, trial.distance];
    one.require_apart("`choosing_length`, `length` and `distance`", &lengths)?;
    let sound = |budget: &f64| budget.is_finite() && *budget >= 0.0;
    let message = "`budgets` are numbers of nats, each 0 or more";
    one.require(settings.budgets.iter().all(sound), "settings", message)?;
    let looks_up = |arm: &&ArmSpec| match &arm.config {
        ArmConfig::Moments(config) => arm.default && config.looks_up() && config.levels.is_empty(),
        _ => false,
    };
    let base = one.arms().iter().find(looks_up).cloned();
    let needed = "`arms` needs the default arm, with lookups in every head";
    let base = one.require_valid(base.ok_or(needed))?;
    Ok(Box::new(one.with(base)))
}

impl LevelsOfHeads {
    /// The name in records of the default arm with the levels of a budget.
    fn id(&self, budget: f64) -> String {
        format!("{}-budget-{budget}", self.own.id)
    }

    /// The levels of each budget.
    fn choose(&self, unit: &Unit, lab: &Lab) -> Measured {
        // No other measurement uses these texts.
        let length = unit.length.min(lab.dense().config().n_positions);
        let texts = self.settings.choosing_texts;
        let texts = lab.corpus().development(self.seed(), texts, length)?;
        let batches = texts.iter().map(|text| TokenBatch::single(text));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let model = self.require_valid(lab.model(&self.own, self.seed()))?;
        let [layers, heads] = [model.config().n_layer, model.config().n_head];
        let found = sweep_levels(model, &batches, &self.settings.budgets)?;
        let new = |id: &str| Measurement::new(id, &unit.source, unit.length, 0);
        let alike = |level| vec![vec![level; heads]; layers];
        let mut all = Vec::new();
        for arm in self.arms() {
            let mut one = new(&arm.id);
            match &arm.config {
                _ if arm.id == self.own.id => {
                    record_levels(&alike(HeadLevel::Lookups), &mut one);
                    if let Some((_, first)) = found.first() {
                        one.set("choice.kl", first.kl_before);
                    }
                }
                ArmConfig::Local(_) => {
                    record_levels(&alike(HeadLevel::Near), &mut one);
                    one.without("choice.kl", "not measured on these texts");
                }
                _ => one = one.without_values("it has no levels of heads"),
            }
            all.push(one);
        }
        for (budget, (_, chosen)) in self.settings.budgets.iter().zip(found) {
            let mut one = new(&self.id(*budget));
            record_levels(&chosen.levels, &mut one);
            one.set("choice.kl", chosen.kl_after);
            all.push(one);
        }
        Ok(all)
    }

    /// The model of each row, or why it is missing.
    fn models(&self, lab: &Lab, earlier: &Records) -> Models {
        let extension = self.settings.trial.extension;
        let shape = [lab.dense().config().n_layer, lab.dense().config().n_head];
        let one = |row: &Subject| {
            if let Some(arm) = self.spec.arm(&row.id) {
                return lab.model_for_any_length(arm, self.seed(), extension);
            }
            let length = self.settings.choosing_length;
            let levels = recorded_levels(earlier, &row.id, length, shape)?;
            arms::with_levels(lab.dense(), &self.own.config, &levels)
                .map_err(|error| error.to_string())?
                .with_position_extension(lab.clamped_extension(extension))
                .map_err(|error| error.to_string())
        };
        self.subjects().iter().map(one).collect()
    }

    /// Sets each row's quantities relative to those of the default arm on the same sample.
    fn beside_default(&self, all: &mut [Measurement]) {
        let base = Ok(self.own.id.as_str());
        for name in ["kl", "among"] {
            let minus = format!("{name}.minus_default");
            compare(all, base, name, &minus, |own, base| own - base);
        }
        for name in ["seconds", "attention.seconds", "cache"] {
            let by = format!("{name}.by_default");
            compare(all, base, name, &by, |own, base| own / base);
        }
    }
}

/// Times the attention of all layers of each model on the dense model's inputs for a text.
fn time_attention(
    trial: &Trial<'_>,
    ids: &[u32],
    index: u64,
    all: &mut [Measurement],
) -> Result<(), ReportError> {
    let dense = trial.reference();
    let batch = TokenBatch::single(ids)?;
    let states = dense.all_hidden_states(&batch)?;
    let project = |(block, x): (&bsbr_gpt2::Block, Tensor<3>)| {
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
        all[place].set("attention.seconds", seconds);
    }
    if let Some(dense) = trial.dense {
        let [seconds, speedup] = ["attention.seconds", "attention.speedup"];
        compare(all, Ok(dense), seconds, speedup, |own, base| base / own);
    }
    Ok(())
}

impl Experiment for LevelsOfHeads {
    fn units(&self, lab: &Lab) -> Units {
        let settings = &self.settings;
        let tried = settings.choosing_length as f64 * settings.choosing_texts as f64;
        let work = CHOICE_EFFORT * tried * settings.budgets.len() as f64;
        let choice = Unit::new(CHOICE, settings.choosing_length, 1, work);
        let rows = self.arms().len() + settings.budgets.len();
        let units = sweep::units(&settings.trial, rows, lab)?;
        Ok([choice].into_iter().chain(units).collect())
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        let trial = &self.settings.trial;
        (name == "unanswered").then(|| sweep::unanswered(trial, self.dense(), records))
    }

    /// The arms; the levels of the default arm follow it, by rising budget.
    fn subjects(&self) -> Vec<Subject> {
        let mut all = Subject::arms(self.arms());
        let colour = all.len();
        let row = |budget: &f64| Subject {
            arm: Some(colour),
            role: Role::Competes,
            ..Subject::other(&self.id(*budget), &format!("budget {budget}"))
        };
        let place = all.iter().position(|one| one.id == self.own.id);
        let place = place.map_or(all.len(), |place| place + 1);
        all.splice(place..place, self.settings.budgets.iter().map(row));
        all
    }

    fn run_after(&self, unit: &Unit, lab: &Lab, earlier: &Records) -> Measured {
        if unit.source == CHOICE {
            return self.choose(unit, lab);
        }
        let rows = self.subjects();
        let trial = Trial {
            lab,
            settings: &self.settings.trial,
            models: &self.models(lab, earlier),
            dense: self.dense(),
        };
        unit.each(|index| {
            let mut all = unit.empty(rows.iter().map(|row| row.id.as_str()), index);
            trial.sample(self.seed(), &mut all)?;
            if unit.source != QUESTIONS {
                let corpus = lab.corpus();
                let ids = corpus.text(self.seed(), &unit.source, index, unit.length)?;
                time_attention(&trial, &ids, index, &mut all)?;
                let config = lab.dense().config();
                // Of the dense model.
                let bytes = config.n_layer * ids.len() * 2 * config.n_embd * size_of::<f32>();
                for one in &mut all {
                    if let Some(share) = one.values.get("cache").copied() {
                        one.set("cache.bytes", share * bytes as f64);
                    }
                }
            }
            self.beside_default(&mut all);
            Ok(all)
        })
    }
}
