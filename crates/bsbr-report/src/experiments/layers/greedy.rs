//! The greedy order, in which each next layer is the one with the lowest cost, from records.

use crate::estimate::Estimate;
use crate::experiments::layers::sets::Layers;
use crate::record::{Pool, Records};
use crate::spec::ArmSpec;

/// KL(dense ‖ arm) on the texts for choices.
pub(super) const LOSS: &str = "choice.kl";

/// The conversion of one more layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// The chosen layer.
    pub layer: usize,
    /// All converted layers after this step.
    pub converted: Layers,
    /// The cost of each layer that was still dense.
    pub tried: Vec<(usize, Result<Estimate, String>)>,
}

/// The steps in the records; ties go to the lower layer.
pub(super) fn steps(records: &Records, arm: &ArmSpec, length: usize, of: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut converted = Layers::default();
    while let Some(step) = step(records, arm, length, of, &converted) {
        converted = step.converted.clone();
        steps.push(step);
    }
    steps
}

fn step(
    records: &Records,
    arm: &ArmSpec,
    length: usize,
    of: usize,
    converted: &Layers,
) -> Option<Step> {
    let tried: Vec<(usize, Result<Estimate, String>)> = candidates(converted, of)
        .map(|layer| {
            let id = converted.with(layer).id(arm, of);
            let found = records.estimate(&id, Pool::Texts, length, LOSS);
            (layer, found)
        })
        .collect();
    let known = tried
        .iter()
        .filter_map(|(layer, found)| Some((*layer, found.as_ref().ok()?.mean)));
    let (layer, _) = known.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some(Step {
        layer,
        converted: converted.with(layer),
        tried,
    })
}

/// The layers that are still dense.
pub(super) fn candidates(converted: &Layers, of: usize) -> impl Iterator<Item = usize> {
    (0..of).filter(|&layer| !converted.contains(layer))
}
