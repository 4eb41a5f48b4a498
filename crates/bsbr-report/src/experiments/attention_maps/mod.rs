//! Attention maps of the dense model and of each arm, head by head.

mod gallery;
mod maps;

use bsbr_gpt2::TokenBatch;
use serde::Deserialize;

use crate::arms;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, weighed};
use crate::experiments::attention_maps::maps::{Grid, HeadScores, Rows};
use crate::experiments::common::in_turns;
use crate::experiments::frame::Frame;
use crate::experiments::watched::Watched;
use crate::lab::Lab;
use crate::record::{ALL, Measurement, Records};
use crate::render::heatmap;
use crate::section::Block;
use crate::spec::Spec;

/// Version of the method.
pub const VERSION: u32 = 2;

/// Work per token: every weight of every head is computed and compared.
const EFFORT: f64 = 5.0;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// S of the grid that distinguishes within and between chunks.
    pub chunk_size: usize,
    /// P of that grid.
    pub near_chunks: usize,
    /// Sinks of that grid.
    pub sink_tokens: usize,
    /// Query positions, evenly spread, for matching heads.
    pub match_rows: usize,
    /// Arms with drawn maps.
    pub gallery: Vec<String>,
    /// The maximum side of a drawn map, in pixels.
    pub pixels: usize,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Total number of texts, from the domains in turn.
    pub texts: u64,
}

/// The experiment.
pub type AttentionMaps = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = AttentionMaps::new(spec)?;
    let settings = &one.settings;
    one.require(
        settings.length > 0 && settings.chunk_size > 0 && settings.match_rows > 0,
        "settings",
        "`length`, `chunk_size` and `match_rows` must be above 0",
    )?;
    for id in &settings.gallery {
        let message = format!("`gallery` names {id}, which is not an arm of this experiment");
        one.require(one.spec.arm(id).is_some(), "settings", message)?;
    }
    Ok(Box::new(one))
}

impl AttentionMaps {
    fn grid(&self) -> Grid {
        Grid {
            chunk_size: self.settings.chunk_size,
            near_chunks: self.settings.near_chunks,
            sinks: self.settings.sink_tokens,
        }
    }

    /// Every arm on one text; maps are kept if `draw` is set.
    fn text(
        &self,
        unit: &Unit,
        index: u64,
        draw: bool,
        lab: &Lab,
    ) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.seed();
        let ids = lab.corpus().text(seed, &unit.source, index, unit.length)?;
        let batch = TokenBatch::single(&ids)?;
        let mut measurements = self.empty(unit, index);
        if let Err(reason) = lab.dense().check(&batch, 0) {
            let all = measurements.into_iter();
            return Ok(all
                .map(|one| one.without_values(reason.to_string()))
                .collect());
        }
        let mut runs = Vec::new();
        for (place, arm) in self.arms().iter().enumerate() {
            match lab.model(arm, seed) {
                Ok(model) => runs.push((place, Watched::new(model, &batch), ArmMaps::default())),
                Err(reason) => measurements[place].without(ALL, reason),
            }
        }
        let heads = lab.dense().config().n_head;
        let mut dense = Watched::new(lab.dense().clone(), &batch);
        let mut dense_rows = Rows::new(ids.len(), self.settings.match_rows);
        for layer in 0..lab.dense().config().n_layer {
            let reference = weights(&mut dense, layer)?;
            dense_rows.add(&reference);
            let chosen = maps::most_far(&reference, ids.len(), heads, self.grid());
            for (place, model, arm) in &mut runs {
                let weights = weights(model, layer)?;
                arm.rows
                    .get_or_insert_with(|| Rows::new(ids.len(), self.settings.match_rows))
                    .add(&weights);
                let scores = maps::compare(&reference, &weights, ids.len(), self.grid());
                arm.scores.push(scores);
                let id = &self.arms()[*place].id;
                if draw && self.settings.gallery.contains(id) {
                    let size = ids.len() * ids.len();
                    let map = &weights[chosen * size..(chosen + 1) * size];
                    let image = heatmap::encode(map, ids.len(), self.settings.pixels)?;
                    let name = head_name(layer, chosen);
                    measurements[*place].images.insert(name, image);
                }
            }
        }
        for (place, _, arm) in runs {
            let best = arm.rows.map(|rows| dense_rows.best_matches(&rows));
            arm_values(
                &mut measurements[place],
                &arm.scores,
                &best.unwrap_or_default(),
            );
        }
        Ok(measurements)
    }
}

/// Results of an arm, collected layer by layer.
#[derive(Debug, Default)]
struct ArmMaps {
    rows: Option<Rows>,
    scores: Vec<Vec<HeadScores>>,
}

/// Writes the results of each head and their means.
fn arm_values(one: &mut Measurement, layers: &[Vec<HeadScores>], best: &[usize]) {
    let heads = layers.first().map_or(0, Vec::len);
    let all: Vec<&HeadScores> = layers.iter().flatten().collect();
    for (place, score) in all.iter().enumerate() {
        let name = head_name(place / heads, place % heads);
        let values = [
            ("within", score.within),
            ("between", score.between),
            ("far", score.far),
            ("dense_far_mass", Some(score.dense_far_mass)),
            ("best", best.get(place).map(|&best| best as f64)),
            (
                "own",
                best.get(place)
                    .map(|&best| f64::from(u8::from(best == place))),
            ),
        ];
        one.set_known(values.map(|(quantity, value)| (format!("head.{name}.{quantity}"), value)));
    }
    let mean = |value: fn(&HeadScores) -> Option<f64>, weight: fn(&HeadScores) -> f64| {
        let found = all
            .iter()
            .filter_map(|score| Some((value(score)?, weight(score))));
        let (sum, total) = found.fold((0.0, 0.0), |(sum, total), (value, weight)| {
            (sum + value * weight, total + weight)
        });
        (total > 0.0).then(|| sum / total)
    };
    let own = best
        .iter()
        .enumerate()
        .filter(|(place, best)| place == *best)
        .count();
    let values = [
        ("within", mean(|score| score.within, |_| 1.0)),
        ("between", mean(|score| score.between, |_| 1.0)),
        ("far", mean(|score| score.far, |_| 1.0)),
        (
            "far_weighted",
            mean(|score| score.far, |score| score.dense_far_mass),
        ),
        (
            "own",
            (!best.is_empty()).then(|| own as f64 / best.len() as f64),
        ),
    ];
    for (quantity, value) in values {
        match value {
            Some(value) => one.set(format!("maps.{quantity}"), value),
            None => one.without(format!("maps.{quantity}"), "the text has no such part"),
        }
    }
}

fn head_name(layer: usize, head: usize) -> String {
    format!("{layer:02}.{head:02}")
}

/// The attention weights of each token in a layer. `[H · N · N]`
fn weights(model: &mut Watched, layer: usize) -> Result<Vec<f32>, ReportError> {
    let (attention, input) = model.layer(layer)?;
    arms::weights(attention, input)
}

impl Experiment for AttentionMaps {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let models = self.arms().len() + 1;
        let units = in_turns(lab, self.settings.length, self.counts.texts, 1, models)?;
        Ok(weighed(units, EFFORT).collect())
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        match name {
            "gallery" => {
                let drawn = gallery::gallery(self, records)?;
                Ok(drawn.map(Block::Figure).into_iter().collect())
            }
            _ => Ok(vec![Block::Table(gallery::by_head(self, records, name))]),
        }
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let first = lab.corpus().domains().first() == Some(&unit.source);
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            measurements.extend(self.text(unit, index, first && index == 0, lab)?);
        }
        Ok(measurements)
    }
}
