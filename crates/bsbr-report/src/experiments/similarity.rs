//! Similarity of each arm's hidden states and logits to the dense model's.

use bsbr_metrics::MetricError;
use serde::Deserialize;

use crate::compare::{self, HiddenScores, LogitScore, States};
use crate::corpus;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::common::of_each;
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::rarity::Rarity;
use crate::record::{ALL, Measurement, RANDOM};
use crate::spec::Spec;

/// Version of the method.
pub const VERSION: u32 = 1;

/// Work per token of a random sequence, some of which are longer than the texts.
const RANDOM_EFFORT: f64 = 1.5;

/// Settings that `--quick` keeps.
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
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
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
pub type Similarity = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Similarity::new(spec)?;
    let settings = &one.settings;
    one.require_lengths("text_lengths", &settings.text_lengths)?;
    let random = !settings.random_lengths.contains(&0);
    one.require(random, "settings", "`random_lengths`: each must be above 0")?;
    let sound = settings.position_bin > 0 && settings.rarity_quantiles > 0;
    let message = "`position_bin` and `rarity_quantiles` must be above 0";
    one.require(sound, "settings", message)?;
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
    ) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.seed();
        let mut measurements = self.empty(unit, index);
        let dense = match States::of(lab.dense(), ids) {
            Ok(states) => states,
            Err(ReportError::Input(reason)) => {
                let all = measurements.into_iter();
                return Ok(all
                    .map(|one| one.without_values(reason.to_string()))
                    .collect());
            }
            Err(error) => return Err(error),
        };
        let mut last: Vec<Vec<f64>> = vec![Vec::new(); measurements.len()];
        let mut models = Vec::new();
        let mut places = Vec::new();
        for (place, arm) in self.arms().iter().enumerate() {
            let one = &mut measurements[place];
            let model = match lab.model(arm, seed) {
                Ok(model) => model,
                Err(reason) => {
                    one.without(ALL, reason);
                    continue;
                }
            };
            let mut states = States::of(&model, ids)?;
            match self.hidden(one, &dense, &states, lab) {
                Ok(cosine) => last[place] = cosine,
                Err(error) => {
                    one.without(ALL, error.to_string());
                    continue;
                }
            }
            // Logits need only the states on the device.
            states.layers.clear();
            models.push((model, states));
            places.push(place);
        }
        let scores = compare::logits(lab.dense(), &dense, &models)?;
        for (place, scores) in places.into_iter().zip(scores) {
            measurements[place].fill(scores, |one, scores| {
                self.positions(one, ids, &scores, &last[place], rarity);
            });
        }
        Ok(measurements)
    }

    /// Hidden states of every layer; returns the cosine of the last at each position.
    fn hidden(
        &self,
        one: &mut Measurement,
        dense: &States,
        arm: &States,
        lab: &Lab,
    ) -> Result<Vec<f64>, MetricError> {
        let width = lab.dense().config().n_embd;
        let mut last = Vec::new();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        for (layer, (dense, arm)) in dense.layers.iter().zip(&arm.layers).enumerate() {
            let HiddenScores {
                cosine,
                mse,
                relative_mse,
            } = compare::hidden(dense, arm, width)?;
            one.set(format!("hidden.{layer:02}.cosine"), mean(&cosine));
            one.set(format!("hidden.{layer:02}.mse"), mean(&mse));
            one.set(
                format!("hidden.{layer:02}.relative_mse"),
                mean(&relative_mse),
            );
            if layer + 1 == dense_layers(lab) {
                one.set("final.cosine", mean(&cosine));
                one.set("final.mse", mean(&mse));
                one.set("final.relative_mse", mean(&relative_mse));
                last = cosine;
            }
        }
        Ok(last)
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
        let all = |field: fn(&LogitScore) -> f64| compare::mean(scores, |_| true, field);
        set(one, "logits.cosine", all(|score| score.cosine));
        part(one, "logits", scores, |_| true);
        let bin = self.settings.position_bin;
        for start in (0..scores.len()).step_by(bin) {
            let name = format!("position.{start:05}");
            let keep = |at: usize| (start..start + bin).contains(&at);
            part(one, &name, scores, keep);
            set(
                one,
                &format!("{name}.cosine"),
                compare::mean(cosine, keep, |&x| x),
            );
        }
        for quantile in 0..rarity.quantiles() {
            let name = format!("rarity.{quantile}");
            let keep = |at: usize| ids.get(at).is_some_and(|&id| rarity.of(id) == quantile);
            part(one, &name, scores, keep);
            set(
                one,
                &format!("{name}.cosine"),
                compare::mean(cosine, keep, |&x| x),
            );
        }
    }
}

/// KL and top-1 agreement at some positions.
fn part(one: &mut Measurement, name: &str, scores: &[LogitScore], keep: impl Fn(usize) -> bool) {
    set(
        one,
        &format!("{name}.kl"),
        compare::mean(scores, &keep, |score| score.kl),
    );
    let top1 = compare::mean(scores, &keep, |score| score.agreement.top1);
    set(one, &format!("{name}.top1"), top1);
}

/// Sets a value if it exists: a part may have no position in a text.
fn set(one: &mut Measurement, quantity: &str, value: Option<f64>) {
    match value {
        Some(value) => one.set(quantity, value),
        None => one.without(quantity, "these texts have no token in this part"),
    }
}

fn dense_layers(lab: &Lab) -> usize {
    lab.dense().config().n_layer + 1
}

impl Experiment for Similarity {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (settings, counts) = (&self.settings, &self.counts);
        let models = self.arms().len() + 1;
        let mut units = Vec::new();
        for &length in &settings.text_lengths {
            let (texts, per_unit) = (counts.texts_per_domain, counts.per_unit);
            units.extend(of_each(lab, length, texts, per_unit, models)?);
        }
        for &length in &settings.random_lengths {
            let count = counts.random_sequences;
            let own = batches(RANDOM, length, count, counts.per_unit, models);
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

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.spec.method.seed;
        let vocabulary = lab.dense().config().vocab_size;
        let tokens = self.counts.rarity_tokens;
        let rarity = lab.rarity(seed, tokens, self.settings.rarity_quantiles)?;
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let ids = match unit.source.as_str() {
                RANDOM => corpus::random(seed, index, vocabulary, unit.length),
                domain => lab.corpus().text(seed, domain, index, unit.length)?,
            };
            measurements.extend(self.sequence(unit, index, &ids, &rarity, lab)?);
        }
        Ok(measurements)
    }
}
