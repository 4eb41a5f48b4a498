//! Sets of layers, and the greedy order from records, in which each next layer is the one with the
//! lowest cost.

use std::collections::BTreeSet;

use crate::estimate::Estimate;
use crate::experiments::prelude::*;

/// KL(dense ‖ arm) on the texts for choices.
pub(super) const LOSS: &str = "choice.kl";

/// The converted layers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Layers(BTreeSet<usize>);

impl Layers {
    /// One layer.
    pub(super) fn one(layer: usize) -> Self {
        Self::between(layer, layer + 1)
    }

    /// The layers from `first` up to but excluding `end`.
    pub(super) fn between(first: usize, end: usize) -> Self {
        Self((first..end).collect())
    }

    /// The same and one more.
    pub(super) fn with(&self, layer: usize) -> Self {
        let mut layers = self.0.clone();
        layers.insert(layer);
        Self(layers)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }

    /// The name in records of an arm in these of all `of` layers; in all layers it is the arm's
    /// own.
    pub(super) fn id(&self, arm: &ArmSpec, of: usize) -> String {
        match self.0.len() == of {
            true => arm.id.clone(),
            false => format!("{} in {}", arm.id, self.words()),
        }
    }

    /// `0–2, 5`
    pub(super) fn words(&self) -> String {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for &layer in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == layer => *last = layer,
                _ => runs.push((layer, layer)),
            }
        }
        let run = |(first, last): (usize, usize)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}–{last}"),
        };
        Vec::from_iter(runs.into_iter().map(run)).join(", ")
    }
}

/// An order in which layers are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// From the embeddings on.
    First,
    /// From the output on.
    Last,
    /// At each step the layer with the lowest cost.
    Greedy,
}

impl Order {
    pub(super) const ALL: [Self; 3] = [Self::First, Self::Last, Self::Greedy];

    /// Its name in charts; in specifications the first word.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::First => "first k",
            Self::Last => "last k",
            Self::Greedy => "greedy",
        }
    }
}

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
    loop {
        let cost = |layer| {
            let id = converted.with(layer).id(arm, of);
            (layer, records.estimate(&id, Pool::Texts, length, LOSS))
        };
        let tried: Vec<_> = candidates(&converted, of).map(cost).collect();
        let known = tried.iter();
        let known = known.filter_map(|(layer, found)| Some((*layer, found.as_ref().ok()?.mean)));
        let Some((layer, _)) = known.min_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            return steps;
        };
        converted = converted.with(layer);
        steps.push(Step {
            layer,
            converted: converted.clone(),
            tried,
        });
    }
}

/// The layers that are still dense.
pub(super) fn candidates(converted: &Layers, of: usize) -> impl Iterator<Item = usize> {
    (0..of).filter(|&layer| !converted.0.contains(&layer))
}

#[cfg(test)]
mod tests {
    use super::Layers;

    #[test]
    fn runs_of_layers_are_written_short() {
        let words = |layers: &[usize]| {
            let set = layers
                .iter()
                .fold(Layers::default(), |set, &layer| set.with(layer));
            set.words()
        };
        assert_eq!(words(&[]), "");
        assert_eq!(words(&[3]), "3");
        assert_eq!(words(&[4, 0, 1]), "0, 1, 4");
        assert_eq!(words(&[0, 1, 2, 5, 7, 8, 9]), "0–2, 5, 7–9");
        assert_eq!(Layers::between(1, 4).words(), "1–3");
    }
}
