//! Similarity of each arm's hidden states and logits to the dense model's.

use bsbr_metrics::MetricError;

use crate::compare::{LogitScore, States};
use crate::experiments::prelude::*;
use crate::rarity::Rarity;

/// Work per token of a random sequence, some of which are longer than the texts.
const RANDOM_EFFORT: f64 = 1.5;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Lengths of texts in tokens; tables show the first.
    pub text_lengths: Vec<usize>,
    /// Lengths of random sequences in tokens.
    pub random_lengths: Vec<usize>,
    /// Positions averaged into one point.
    pub position_bin: usize,
    /// Number of quantiles of token rarity.
    pub rarity_quantiles: u8,
    /// Texts per domain.
    pub texts_per_domain: u64,
    /// Random sequences per length.
    pub random_sequences: u64,
    /// Number of tokens for counting token frequencies.
    pub rarity_tokens: usize,
    /// Sequences per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Similarity = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let ones = ["text_lengths", "position_bin", "rarity_quantiles"];
    let one = Similarity::read(spec, &ones, &[])?;
    let random = !one.settings.random_lengths.contains(&0);
    one.require(random, "settings", "`random_lengths`: each must be above 0")?;
    Ok(Box::new(one))
}

impl Similarity {
    /// Every arm on one sequence.
    fn sequence(
        &self,
        unit: &Unit,
        index: u64,
        ids: &[u32],
        rarity: &Rarity,
        lab: &Lab,
    ) -> Measured {
        let mut measurements = self.empty(unit, index);
        let dense = match States::of(lab.dense(), ids) {
            Ok(states) => states,
            Err(ReportError::Input(reason)) => {
                let missing = |one: &mut Measurement| one.without(ALL, reason.to_string());
                measurements.iter_mut().for_each(missing);
                return Ok(measurements);
            }
            Err(error) => return Err(error),
        };
        let width = lab.dense().config().n_embd;
        let (mut models, mut places) = (Vec::new(), Vec::new());
        for ((place, arm), one) in self.arms().iter().enumerate().zip(&mut measurements) {
            let model = match lab.model(arm, self.seed()) {
                Ok(model) => model,
                Err(reason) => {
                    one.without(ALL, reason);
                    continue;
                }
            };
            let mut states = States::of(&model, ids)?;
            match hidden(one, &dense, &states, width) {
                Ok(cosine) => places.push((place, cosine)),
                Err(error) => {
                    one.without(ALL, error.to_string());
                    continue;
                }
            }
            // Logits need only the states on the device.
            states.layers.clear();
            models.push((model, states));
        }
        let scores = compare::positions(lab.dense(), &dense, &models, compare::score)?;
        for ((place, cosine), scores) in places.into_iter().zip(scores) {
            measurements[place].fill(scores, |one, scores| {
                self.positions(one, ids, &scores, &cosine, rarity);
            });
        }
        Ok(measurements)
    }

    /// Logits, and values by position and by token.
    fn positions(
        &self,
        one: &mut Measurement,
        ids: &[u32],
        scores: &[LogitScore],
        cosine: &[f64],
        rarity: &Rarity,
    ) {
        let mut part = |name: String, cosine: &[f64], keep: &dyn Fn(usize) -> bool| {
            let values = [
                ("kl", compare::mean(scores, keep, |score| score.kl)),
                (
                    "top1",
                    compare::mean(scores, keep, |score| score.agreement.top1),
                ),
                ("cosine", compare::mean(cosine, keep, |&x| x)),
            ];
            for (quantity, value) in values {
                // A part may have no position in a text.
                let missing = || "these texts have no token in this part".to_owned();
                one.put(&format!("{name}.{quantity}"), value.ok_or_else(missing));
            }
        };
        let of_logits: Vec<f64> = scores.iter().map(|score| score.cosine).collect();
        part("logits".to_owned(), &of_logits, &|_| true);
        let bin = self.settings.position_bin;
        for start in (0..scores.len()).step_by(bin) {
            let keep = |at: usize| (start..start + bin).contains(&at);
            part(format!("position.{start:05}"), cosine, &keep);
        }
        for quantile in 0..rarity.quantiles() {
            let keep = |at: usize| ids.get(at).is_some_and(|&id| rarity.of(id) == quantile);
            part(format!("rarity.{quantile}"), cosine, &keep);
        }
    }
}

/// Hidden states of every layer; returns the cosine of the last at each position.
fn hidden(
    one: &mut Measurement,
    dense: &States,
    arm: &States,
    width: usize,
) -> Result<Vec<f64>, MetricError> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let last = dense.layers.len() - 1;
    let mut cosine = Vec::new();
    for (layer, (dense, arm)) in dense.layers.iter().zip(&arm.layers).enumerate() {
        let found = compare::hidden(dense, arm, width)?;
        let of_last = (layer == last).then(|| "final".to_owned());
        for name in [format!("hidden.{layer:02}")].into_iter().chain(of_last) {
            one.set(format!("{name}.cosine"), mean(&found.cosine));
            one.set(format!("{name}.mse"), mean(&found.mse));
            one.set(format!("{name}.relative_mse"), mean(&found.relative_mse));
        }
        cosine = found.cosine;
    }
    Ok(cosine)
}

impl Experiment for Similarity {
    fn units(&self, lab: &Lab) -> Units {
        let settings = &self.settings;
        let models = self.arms().len() + 1;
        let mut units = Vec::new();
        for &length in &settings.text_lengths {
            let counts = [settings.texts_per_domain, settings.per_unit];
            units.extend(of_each(lab, length, counts, models)?);
        }
        for &length in &settings.random_lengths {
            let count = settings.random_sequences;
            let own = batches(RANDOM, length, count, settings.per_unit, models);
            units.extend(weighed(own, RANDOM_EFFORT));
        }
        Ok(units)
    }

    fn part_name(&self, quantity: &str, part: &str, last: bool) -> Option<String> {
        let number: usize = part.parse().ok()?;
        let (bin, parts) = (self.settings.position_bin, self.settings.rarity_quantiles);
        match (quantity.split('.').next()?, number) {
            ("hidden", 0) => Some("embeddings".to_owned()),
            ("hidden", _) if last => Some("final norm".to_owned()),
            ("hidden", number) => Some(format!("block {number}")),
            ("position", start) => Some(format!("{start}–{}", start + bin - 1)),
            ("rarity", 0) => Some("most frequent".to_owned()),
            ("rarity", _) if last => Some("rarest".to_owned()),
            ("rarity", number) => Some(format!("part {} of {parts}", number + 1)),
            _ => None,
        }
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let (seed, settings) = (self.seed(), &self.settings);
        let vocabulary = lab.dense().config().vocab_size;
        let rarity = lab.rarity(seed, settings.rarity_tokens, settings.rarity_quantiles)?;
        unit.each(|index| {
            let ids = match unit.source.as_str() {
                RANDOM => random(seed, index, vocabulary, unit.length),
                domain => lab.corpus().text(seed, domain, index, unit.length)?,
            };
            self.sequence(unit, index, &ids, &rarity, lab)
        })
    }
}
