//! Layer-wise conversion: each layer alone, the first and the last few, and the greedy order.

mod sets;
mod shown;

use std::collections::BTreeSet;

use bsbr_metrics::MetricError;
use bsbr_metrics::perplexity::token_nll;

use crate::arms::converted_in;
use crate::compare::Expected;
use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::layers::sets::{LOSS, Layers, Order, Step, candidates, steps};
use crate::experiments::prelude::*;

/// Work per token of a step of the greedy order.
const STEP_EFFORT: f64 = 0.35;

/// Work per token of a text.
const TEXT_EFFORT: f64 = 0.6;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// The top-1 agreement required of convertible layers.
    pub least_agreement: f64,
    /// Texts, from the domains in turn.
    pub texts: u64,
    /// Other texts, for the choice of the greedy order.
    pub choosing_texts: u64,
    /// Texts per unit.
    pub per_unit: u64,
}

/// The experiment.
///
/// A step of the greedy order is a unit for each arm, which uses the earlier steps. The units
/// of texts follow, because they measure the chosen order.
pub type LayerByLayer = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    // From two tokens on one can be predicted.
    let one = LayerByLayer::read(spec, &["choosing_texts"], &["length"])?;
    let dense = one.dense().is_some();
    one.require(dense, "settings", "`arms` needs the dense arm")?;
    Ok(Box::new(one))
}

impl LayerByLayer {
    /// The arms that layers are converted to, with their indices among all arms.
    fn converted(&self) -> impl Iterator<Item = (usize, &ArmSpec)> {
        let arms = self.spec.method.arms.iter().enumerate();
        arms.filter(|(_, arm)| arm.config.chunk_size().is_some())
    }

    fn steps(&self, records: &Records, arm: &ArmSpec, of: usize) -> Vec<Step> {
        steps(records, arm, self.settings.length, of)
    }

    /// The sets of an order, from one layer to all, as far as the order is known.
    fn sets(&self, order: Order, records: &Records, arm: &ArmSpec, of: usize) -> Vec<Layers> {
        match order {
            Order::First => (1..=of).map(|k| Layers::between(0, k)).collect(),
            Order::Last => (1..=of).map(|k| Layers::between(of - k, of)).collect(),
            Order::Greedy => {
                let steps = self.steps(records, arm, of).into_iter();
                steps.map(|step| step.converted).collect()
            }
        }
    }

    /// Every set in the tables, each once.
    fn all_sets(&self, records: &Records, arm: &ArmSpec, of: usize) -> BTreeSet<Layers> {
        let alone = (0..of).map(Layers::one);
        let orders = Order::ALL
            .into_iter()
            .flat_map(|order| self.sets(order, records, arm, of));
        alone.chain(orders).collect()
    }

    /// The cost of the next layer on the texts for choices, for each layer that is still
    /// dense.
    fn step(&self, unit: &Unit, arm: &ArmSpec, lab: &Lab, earlier: &Records) -> Measured {
        let (seed, of) = (self.seed(), lab.dense().config().n_layer);
        let steps = self.steps(earlier, arm, of);
        let converted = steps.last().map(|step| step.converted.clone());
        let converted = converted.unwrap_or_default();
        let sets = candidates(&converted, of).map(|layer| converted.with(layer));
        let sets: Vec<Layers> = sets.collect();
        let models = models(&sets, arm, seed, lab);
        let (corpus, texts) = (lab.corpus(), self.settings.choosing_texts);
        let texts = corpus.development(seed, texts, unit.length)?;
        let source = corpus.describe_development();
        let mut measurements = Vec::new();
        for (index, ids) in (0..).zip(&texts) {
            let new =
                |set: &Layers| Measurement::new(&set.id(arm, of), &source, unit.length, index);
            let mut all: Vec<Measurement> = sets.iter().map(new).collect();
            let dense = Reference::read(lab.dense(), ids)?;
            let score = |_: usize, dense: &Expected<'_>, arm: &[f32]| dense.distribution.kl(arm);
            dense.compare(&models, &mut all, score, |one, scores, _, _| {
                one.set_known([(LOSS, compare::mean(scores, |_| true, |&kl| kl))]);
            })?;
            measurements.append(&mut all);
        }
        Ok(measurements)
    }
}

/// The arm in each of some sets of layers, or why it is missing.
fn models<'a>(
    sets: impl IntoIterator<Item = &'a Layers>,
    arm: &ArmSpec,
    seed: u64,
    lab: &Lab,
) -> Models {
    let all = lab.model(arm, seed);
    let one = |set: &Layers| {
        let model = all.as_ref().map_err(Clone::clone)?;
        converted_in(model, set.iter()).map_err(|error| error.to_string())
    };
    sets.into_iter().map(one).collect()
}

impl Experiment for LayerByLayer {
    fn units(&self, lab: &Lab) -> Units {
        let of = lab.dense().config().n_layer;
        let settings = &self.settings;
        let length = settings.length;
        let mut units = Vec::new();
        let choosing = settings.choosing_texts;
        for (_, arm) in self.converted() {
            units.extend((0..of).map(|step| {
                let work = STEP_EFFORT * (length * (of - step + 1)) as f64 * choosing as f64;
                let source = format!("greedy step {}", step + 1);
                Unit::new(&source, length, choosing, work).of_arm(arm)
            }));
        }
        // Alone, first and last: a greedy order may share all of its sets with them.
        let models = self.converted().count() * (3 * of - 2) + 2;
        let counts = [settings.texts, settings.per_unit];
        let texts = round_robin(lab, length, counts, models)?;
        units.extend(weighed(texts, TEXT_EFFORT));
        Ok(units)
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(shown::View::new(self, records).blocks(name))
    }

    fn rows(&self, name: &str, records: &Records) -> Vec<Subject> {
        shown::View::new(self, records).rows(name)
    }

    fn lines(&self, name: &str, records: &Records) -> Vec<(String, Vec<Line>)> {
        shown::View::new(self, records).lines(name)
    }

    fn verdicts(&self, records: &Records) -> Vec<Verdict> {
        shown::View::new(self, records).verdicts()
    }

    fn run_after(&self, unit: &Unit, lab: &Lab, earlier: &Records) -> Measured {
        // Only a step of an order concerns one arm.
        if let Some(arm) = self.arm_of(unit) {
            return self.step(unit, arm, lab, earlier);
        }
        let (seed, of) = (self.seed(), lab.dense().config().n_layer);
        let dense = dense(self.arms()).into_iter();
        let mut rows: Vec<(String, Result<Gpt2, String>)> = dense
            .map(|arm| (arm.id.clone(), lab.model(arm, seed)))
            .collect();
        for (_, arm) in self.converted() {
            let sets = self.all_sets(earlier, arm, of);
            let ids = sets.iter().map(|set| set.id(arm, of));
            rows.extend(ids.zip(models(&sets, arm, seed, lab)));
        }
        let (ids, models): (Vec<String>, Vec<_>) = rows.into_iter().unzip();
        self.each_text(unit, lab, |text, index| {
            let mut all = unit.empty(ids.iter().map(String::as_str), index);
            let score = |at: usize, dense: &Expected<'_>, arm: &[f32]| -> Result<_, MetricError> {
                let next = text.get(at + 1).map(|&id| token_nll(arm, id as usize));
                Ok((dense.score(arm)?, next.transpose()?))
            };
            let dense = Reference::read(lab.dense(), text)?;
            dense.compare(&models, &mut all, score, |one, scores, cosine, pass| {
                let (scores, next): (Vec<_>, Vec<_>) = scores.iter().copied().unzip();
                set_closeness(one, &scores, cosine, pass);
                let next: Vec<f64> = next.into_iter().flatten().collect();
                one.set_known([("nll", compare::mean(&next, |_| true, |&nll| nll))]);
            })?;
            beside_dense(&mut all, self.arms(), &["nll"]);
            Ok(all)
        })
    }
}
