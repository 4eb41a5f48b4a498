//! Attention maps of the dense model and of each arm, head by head.

mod gallery;
mod maps;

use bsbr_attention::Grid;

use crate::experiments::attention_maps::maps::{HeadScores, PARTS, Rows};
use crate::experiments::layerwise::LayerwisePass;
use crate::experiments::prelude::*;
use crate::render::heatmap;

/// Work per token: every weight of every head is computed and compared.
const EFFORT: f64 = 5.0;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// S of the grid that distinguishes within and between chunks.
    pub chunk_size: usize,
    /// Its P.
    pub near_chunks: usize,
    /// Its sinks.
    pub sink_tokens: usize,
    /// Query positions, evenly spread, for matching heads.
    pub match_rows: usize,
    /// Arms with drawn maps.
    pub gallery: Vec<String>,
    /// The maximum side of a drawn map, in pixels.
    pub pixels: usize,
    /// Total number of texts, from the domains in turn.
    pub texts: u64,
}

impl Settings {
    fn grid(&self) -> Grid {
        Grid {
            sinks: self.sink_tokens,
            chunk_size: self.chunk_size,
            near_chunks: self.near_chunks,
        }
    }
}

/// The experiment.
pub type AttentionMaps = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = AttentionMaps::read(spec, &["length", "chunk_size", "match_rows"], &[])?;
    for id in &one.settings.gallery {
        let message = format!("`gallery` names {id}, which is not an arm of this experiment");
        one.require(one.spec.arm(id).is_some(), "settings", message)?;
    }
    Ok(Box::new(one))
}

impl AttentionMaps {
    /// Every arm on one text; maps are kept if `draw` is set.
    fn text(&self, unit: &Unit, index: u64, draw: bool, lab: &Lab) -> Measured {
        let (seed, settings) = (self.seed(), &self.settings);
        let ids = lab.corpus().text(seed, &unit.source, index, unit.length)?;
        let batch = TokenBatch::single(&ids)?;
        let mut measurements = self.empty(unit, index);
        if let Err(reason) = lab.dense().check(&batch, 0) {
            let missing = |one: &mut Measurement| one.without(ALL, reason.to_string());
            measurements.iter_mut().for_each(missing);
            return Ok(measurements);
        }
        let rows = || Rows::new(ids.len(), settings.match_rows);
        let mut runs = Vec::new();
        for (place, arm) in self.arms().iter().enumerate() {
            match lab.model(arm, seed) {
                Ok(model) => {
                    runs.push((place, LayerwisePass::new(model, &batch), rows(), Vec::new()))
                }
                Err(reason) => measurements[place].without(ALL, reason),
            }
        }
        let heads = lab.dense().config().n_head;
        let mut dense = LayerwisePass::new(lab.dense().clone(), &batch);
        let mut dense_rows = rows();
        for layer in 0..lab.dense().config().n_layer {
            let reference = weights(&mut dense, layer)?;
            dense_rows.add(&reference);
            let chosen = maps::most_far(&reference, ids.len(), heads, settings.grid());
            for (place, model, rows, scores) in &mut runs {
                let weights = weights(model, layer)?;
                rows.add(&weights);
                let similar = maps::compare(&reference, &weights, ids.len(), settings.grid());
                scores.push(similar);
                if draw && settings.gallery.contains(&self.arms()[*place].id) {
                    let size = ids.len() * ids.len();
                    let map = &weights[chosen * size..(chosen + 1) * size];
                    let image = heatmap::encode(map, ids.len(), settings.pixels)?;
                    let name = head_name(layer, chosen);
                    measurements[*place].images.insert(name, image);
                }
            }
        }
        for (place, _, rows, scores) in runs {
            let best = dense_rows.best_matches(&rows);
            arm_values(&mut measurements[place], &scores, &best);
        }
        Ok(measurements)
    }
}

/// Writes the results of each head and their means.
fn arm_values(one: &mut Measurement, layers: &[Vec<HeadScores>], best: &[usize]) {
    let heads = layers.first().map_or(0, Vec::len);
    let all: Vec<&HeadScores> = layers.iter().flatten().collect();
    let mut own = 0;
    for (place, (scores, &best)) in all.iter().zip(best).enumerate() {
        let name = head_name(place / heads, place % heads);
        let is_own = u8::from(best == place);
        own += usize::from(is_own);
        let matched = [("best", best as f64), ("own", f64::from(is_own))];
        let matched = matched.map(|(name, value)| (name, Some(value)));
        let values = PARTS.into_iter().zip(**scores).chain(matched);
        one.set_known(values.map(|(quantity, value)| (format!("head.{name}.{quantity}"), value)));
    }
    let mean = |part: usize, weight: fn(&HeadScores) -> Option<f64>| {
        let found = all.iter();
        let found = found.filter_map(|scores| Some((scores[part]?, weight(scores)?)));
        let (sum, total) = found.fold((0.0, 0.0), |(sum, total), (value, weight)| {
            (sum + value * weight, total + weight)
        });
        (total > 0.0).then(|| sum / total)
    };
    let share = (!best.is_empty()).then(|| own as f64 / best.len() as f64);
    for (quantity, value) in [
        ("within", mean(0, |_| Some(1.0))),
        ("between", mean(1, |_| Some(1.0))),
        ("far", mean(2, |_| Some(1.0))),
        ("far_weighted", mean(2, |scores| scores[3])),
        ("own", share),
    ] {
        let missing = || "the text has no such part".to_owned();
        one.put(&format!("maps.{quantity}"), value.ok_or_else(missing));
    }
}

fn head_name(layer: usize, head: usize) -> String {
    format!("{layer:02}.{head:02}")
}

/// The attention weights of each token in a layer. `[H · N · N]`
fn weights(model: &mut LayerwisePass, layer: usize) -> Result<Vec<f32>, ReportError> {
    let (attention, input) = model.layer(layer)?;
    arms::weights(attention, input)
}

impl Experiment for AttentionMaps {
    fn units(&self, lab: &Lab) -> Units {
        let models = self.arms().len() + 1;
        let units = round_robin(lab, self.settings.length, [self.settings.texts, 1], models)?;
        Ok(weighed(units, EFFORT).collect())
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(match name {
            "gallery" => Vec::from_iter(gallery::gallery(self, records)?.map(Block::Figure)),
            _ => vec![Block::Table(gallery::by_head(self, records, name))],
        })
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let first = lab.corpus().domains().first() == Some(&unit.source);
        unit.each(|index| self.text(unit, index, first && index == 0, lab))
    }
}
