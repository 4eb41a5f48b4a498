//! The share of attention that is computed exactly, and its spread.

use bsbr_metrics::density::attention_density;

use crate::experiments::layerwise::LayerwisePass;
use crate::experiments::prelude::*;

/// The quantities of every layer, and of all together.
const QUANTITIES: [&str; 4] = ["exact", "scored", "above", "effective"];

/// Work per token.
const EFFORT: f64 = 1.3;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub lengths: Vec<usize>,
    /// A weight above which a token counts as attended to.
    pub threshold: f64,
    /// Query positions per text, evenly spread, including the last.
    pub rows: usize,
    /// Texts per length, from the domains in turn.
    pub texts: u64,
}

/// The experiment.
pub type Density = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Density::read(spec, &["lengths", "rows"], &[])?;
    let sound = (0.0..1.0).contains(&one.settings.threshold);
    let message = "`threshold` must be a weight from 0 to below 1";
    one.require(sound, "settings", message)?;
    Ok(Box::new(one))
}

impl Density {
    /// Every layer of one arm on one text.
    fn layers(&self, arm: &ArmSpec, batch: &TokenBatch, lab: &Lab) -> Tried<Vec<[f64; 4]>> {
        let model = match lab.model(arm, self.seed()) {
            Ok(model) => model,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Err(reason) = model.check(batch, 0) {
            return Ok(Err(reason.to_string()));
        }
        let layers = model.config().n_layer;
        let mut layerwise = LayerwisePass::new(model, batch);
        let mut all = Vec::with_capacity(layers);
        for layer in 0..layers {
            let (attention, input) = layerwise.layer(layer)?;
            let [_, heads, tokens, _] = input.query.dims();
            let picked: Vec<usize> = queries(tokens, self.settings.rows).collect();
            let found = attention.weights_of(input, &picked);
            let share = |pairs: u64| pairs as f64 / found.pairs.dense as f64;
            let exact = share(found.pairs.exact);
            let scored = share(found.pairs.exact + found.pairs.clusters);
            let weights = host(found.spread())?;
            let (mut above, mut effective) = (0.0, 0.0);
            let of_heads = (0..heads).flat_map(|_| &picked);
            for (row, &query) in weights.chunks_exact(tokens).zip(of_heads) {
                let density = match attention_density(&row[..=query], self.settings.threshold) {
                    Ok(density) => density,
                    Err(reason) => return Ok(Err(reason.to_string())),
                };
                above += density.above_threshold;
                effective += density.effective;
            }
            let rows = (heads * picked.len()) as f64;
            all.push([exact, scored, above / rows, effective / rows]);
        }
        Ok(Ok(all))
    }
}

/// `count` positions of `tokens`, evenly spread, including the last.
pub(super) fn queries(tokens: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.clamp(1, tokens.max(1));
    (1..=count).map(move |part| (part * tokens / count).saturating_sub(1))
}

impl Experiment for Density {
    fn units(&self, lab: &Lab) -> Units {
        let models = self.arms().len();
        let mut units = Vec::new();
        for &length in &self.settings.lengths {
            let own = round_robin(lab, length, [self.settings.texts, 1], models)?;
            units.extend(weighed(own, EFFORT));
        }
        Ok(units)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        self.each_text(unit, lab, |ids, index| {
            let batch = TokenBatch::single(ids)?;
            let mut all = self.empty(unit, index);
            for (one, arm) in all.iter_mut().zip(self.arms()) {
                one.fill(self.layers(arm, &batch, lab)?, |one, layers| {
                    for (place, quantity) in QUANTITIES.into_iter().enumerate() {
                        let values = layers.iter().map(|layer| layer[place]);
                        let mean = values.clone().sum::<f64>() / layers.len() as f64;
                        one.set(quantity, mean);
                        for (layer, value) in values.enumerate() {
                            one.set(format!("layer.{layer:02}.{quantity}"), value);
                        }
                    }
                });
            }
            Ok(all)
        })
    }
}
