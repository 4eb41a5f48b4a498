//! Layer-wise conversion: each layer alone, the first and the last few, and the greedy order.

mod greedy;
mod sets;
mod shown;

use std::collections::BTreeSet;

use bsbr_gpt2::Gpt2;
use bsbr_metrics::perplexity::token_nll;
use serde::Deserialize;

use crate::arms::converted_in;
use crate::compare;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, weighed};
use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::common::{beside_dense, in_turns};
use crate::experiments::frame::Frame;
use crate::experiments::layers::greedy::{LOSS, Step, candidates, steps};
use crate::experiments::layers::sets::{Layers, Order};
use crate::lab::Lab;
use crate::present::subject::{Line, Subject};
use crate::record::{Measurement, Records};
use crate::section::{Block, Verdict};
use crate::spec::{ArmSpec, Spec, dense};

/// Version of the method.
pub const VERSION: u32 = 1;

/// Work per token of a step of the greedy order.
const STEP_EFFORT: f64 = 0.35;

/// Work per token of a text.
const TEXT_EFFORT: f64 = 0.6;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// The top-1 agreement required of convertible layers.
    pub least_agreement: f64,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
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
pub type LayerByLayer = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = LayerByLayer::new(spec)?;
    let message = "`length` must be above 1, so that a token can be predicted";
    one.require(one.settings.length > 1, "settings", message)?;
    let message = "`choosing_texts` must be above 0";
    one.require(one.counts.choosing_texts > 0, "counts", message)?;
    let dense = dense(one.arms()).is_some();
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
    fn step(
        &self,
        unit: &Unit,
        arm: &ArmSpec,
        lab: &Lab,
        earlier: &Records,
    ) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.spec.method.seed;
        let of = lab.dense().config().n_layer;
        let steps = self.steps(earlier, arm, of);
        let converted = steps.last().map(|step| step.converted.clone());
        let converted = converted.unwrap_or_default();
        let sets: Vec<Layers> = candidates(&converted, of)
            .map(|layer| converted.with(layer))
            .collect();
        let models = models(&sets, arm, seed, lab);
        let texts = lab
            .corpus()
            .development(seed, self.counts.choosing_texts, unit.length)?;
        let source = lab.corpus().describe_development();
        let mut measurements = Vec::new();
        for (index, ids) in texts.iter().enumerate() {
            let reference = Reference::read(lab.dense(), ids)?;
            let new = |set: &Layers| {
                Measurement::new(&set.id(arm, of), &source, unit.length, index as u64)
            };
            let mut all: Vec<Measurement> = sets.iter().map(new).collect();
            reference.compare(
                &models,
                &mut all,
                |_, dense, arm| bsbr_metrics::divergence::kl(dense, arm),
                |one, scores, _| {
                    one.set_known([(LOSS, compare::mean(scores, |_| true, |&kl| kl))]);
                },
            )?;
            measurements.append(&mut all);
        }
        Ok(measurements)
    }

    /// Every set of every arm on one text, after the dense model.
    fn text(
        &self,
        rows: &[(String, Result<Gpt2, String>)],
        ids: &[u32],
        lab: &Lab,
        new: impl Fn(&str) -> Measurement,
    ) -> Result<Vec<Measurement>, ReportError> {
        let mut measurements: Vec<Measurement> = rows.iter().map(|(id, _)| new(id)).collect();
        let models: Vec<_> = rows.iter().map(|(_, model)| model.clone()).collect();
        Reference::read(lab.dense(), ids)?.compare(
            &models,
            &mut measurements,
            |at, dense, arm| {
                let next = ids.get(at + 1).map(|&id| token_nll(arm, id as usize));
                Ok((compare::score(dense, arm)?, next.transpose()?))
            },
            |one, scores, cosine| {
                let (scores, next): (Vec<_>, Vec<_>) = scores.iter().copied().unzip();
                set_closeness(one, &scores, cosine);
                let next: Vec<f64> = next.into_iter().flatten().collect();
                one.set_known([("nll", compare::mean(&next, |_| true, |&nll| nll))]);
            },
        )?;
        beside_dense(&mut measurements, &self.spec.method.arms, &["nll"]);
        Ok(measurements)
    }
}

/// The arm in each of some sets of layers, or why it is missing.
fn models<'a>(
    sets: impl IntoIterator<Item = &'a Layers>,
    arm: &ArmSpec,
    seed: u64,
    lab: &Lab,
) -> Vec<Result<Gpt2, String>> {
    let all = lab.model(arm, seed);
    let one = |set: &Layers| {
        let model = all.as_ref().map_err(Clone::clone)?;
        converted_in(model, set.iter()).map_err(|error| error.to_string())
    };
    sets.into_iter().map(one).collect()
}

impl Experiment for LayerByLayer {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let of = lab.dense().config().n_layer;
        let (length, counts) = (self.settings.length, &self.counts);
        let mut units = Vec::new();
        let choosing = counts.choosing_texts;
        for (_, arm) in self.converted() {
            units.extend((0..of).map(|step| {
                let work = STEP_EFFORT * (length * (of - step + 1)) as f64 * choosing as f64;
                let source = format!("greedy step {}", step + 1);
                Unit::new(&source, length, choosing, work).of_arm(arm)
            }));
        }
        // Alone, first and last: a greedy order may share all of its sets with them.
        let models = self.converted().count() * (3 * of - 2) + 2;
        let texts = in_turns(lab, length, counts.texts, counts.per_unit, models)?;
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

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        self.run_after(unit, lab, &Records::default())
    }

    fn run_after(
        &self,
        unit: &Unit,
        lab: &Lab,
        earlier: &Records,
    ) -> Result<Vec<Measurement>, ReportError> {
        // Only a step of an order concerns one arm.
        let chosen_for = self
            .converted()
            .find(|(_, arm)| unit.arm.as_ref() == Some(&arm.id));
        if let Some((_, arm)) = chosen_for {
            return self.step(unit, arm, lab, earlier);
        }
        let seed = self.spec.method.seed;
        let of = lab.dense().config().n_layer;
        let mut rows: Vec<(String, Result<Gpt2, String>)> = Vec::new();
        if let Some(arm) = dense(&self.spec.method.arms) {
            rows.push((arm.id.clone(), lab.model(arm, seed)));
        }
        for (_, arm) in self.converted() {
            let sets = self.all_sets(earlier, arm, of);
            let ids = sets.iter().map(|set| set.id(arm, of));
            rows.extend(ids.zip(models(&sets, arm, seed, lab)));
        }
        self.each_text(unit, lab, |ids, index| {
            let new = |id: &str| Measurement::new(id, &unit.source, unit.length, index);
            self.text(&rows, ids, lab, new)
        })
    }
}
