//! The level that each head needs, found on text.
//!
//! Heads that attend by position need only their near field; heads that attend by content retrieve.
//! A lower level costs less time, and the near level keeps no far tokens.

use std::collections::BTreeMap;

use bsbr_attention::{ArmConfig, Attention, AttentionInput, HeadLevel, MomentsConfig};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Tensor, TensorData};

use crate::convert::convert;
use crate::error::ConvertError;
use crate::plan::ConversionPlan;

/// The share of a head's queries, those with the most mass on far tokens, that decides its level: a
/// head that retrieves does so for few tokens.
const SHARE: f64 = 0.01;

/// Positions whose logits are held at once.
const SLAB: usize = 256;

/// The chosen levels, and their cost on the text.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenLevels {
    /// Level of each head of each layer, in layers of the moments arm with lookups; empty in
    /// others.
    pub levels: Vec<Vec<HeadLevel>>,
    /// KL (dense ‖ arm) in nats per position with lookups in every head.
    pub kl_before: f64,
    /// The same with the chosen levels.
    pub kl_after: f64,
}

/// One head.
#[derive(Debug, Clone, Copy)]
struct Head {
    layer: usize,
    head: usize,
    /// A measure of its need for far tokens.
    need: f64,
}

/// Gives each head of `model`, which uses lookups, the lowest level with which its predictions on
/// `batches` stay close to those of dense attention: KL (dense ‖ arm) rises by at most `budget`
/// nats per position.
///
/// Heads are ranked by the mass that dense attention puts on far tokens, averaged over the
/// hundredth of queries with the most. In order of rank, as many heads as the budget allows see
/// only their near field, and as many of the following as it allows see clusters without lookups.
/// `progress` receives the number of finished passes over the text and the estimated total.
///
/// The text should be much longer than the near field, and similar to the model's use. Calibrate
/// compressed states afterwards.
///
/// # Errors
///
/// [`ConvertError`] if the model cannot take a batch.
pub fn choose_levels(
    model: Gpt2,
    batches: &[TokenBatch],
    budget: f64,
    mut progress: impl FnMut(usize, usize),
) -> Result<(Gpt2, ChosenLevels), ConvertError> {
    let (mut search, ranked) = Search::by_mass(model, batches)?;
    search.within(&ranked, budget, &mut progress)
}

/// The result of [`choose_levels`] for each of several budgets. Heads are ranked once, and levels
/// that several budgets share are tried once.
///
/// # Errors
///
/// [`ConvertError`] if the model cannot take a batch.
pub fn sweep_levels(
    model: Gpt2,
    batches: &[TokenBatch],
    budgets: &[f64],
) -> Result<Vec<(Gpt2, ChosenLevels)>, ConvertError> {
    let (mut search, ranked) = Search::by_mass(model, batches)?;
    let one = |budget: &f64| search.within(&ranked, *budget, &mut |_, _| {});
    budgets.iter().map(one).collect()
}

/// The greatest number up to `limit` that fits, assuming that all smaller numbers fit too; 0 always
/// fits.
fn most(
    limit: usize,
    mut fits: impl FnMut(usize) -> Result<bool, ConvertError>,
) -> Result<usize, ConvertError> {
    let (mut least, mut beyond) = (0, limit + 1);
    while beyond - least > 1 {
        let middle = least + (beyond - least) / 2;
        match fits(middle)? {
            true => least = middle,
            false => beyond = middle,
        }
    }
    Ok(least)
}

/// The model with candidate levels, and the dense model's output.
struct Search<'a> {
    /// The arm of each layer.
    arms: Vec<ArmConfig>,
    /// Final hidden states of the dense model. `[B, N, n_embd]` each
    expected: Vec<Tensor<3>>,
    batches: &'a [TokenBatch],
    model: Gpt2,
    /// KL of each pair tried: the numbers of heads at the near level and at the clusters level.
    tried: BTreeMap<(usize, usize), f64>,
}

impl<'a> Search<'a> {
    fn new(model: Gpt2, batches: &'a [TokenBatch]) -> Self {
        Self {
            arms: model.arms().cloned().collect(),
            expected: Vec::new(),
            batches,
            model,
            tried: BTreeMap::new(),
        }
    }

    /// A search over heads that are ranked by their mass on far tokens.
    fn by_mass(model: Gpt2, batches: &'a [TokenBatch]) -> Result<(Self, Vec<Head>), ConvertError> {
        for batch in batches {
            model.check(batch, 0)?;
        }
        let dense = convert(model.clone(), &ConversionPlan::uniform(ArmConfig::DENSE))?;
        let mut search = Self::new(model, batches);
        let ranked = search.rank(&dense)?;
        Ok((search, ranked))
    }

    /// The model with the lowest levels within a budget. `progress` is called after each pass over
    /// the text.
    fn within(
        &mut self,
        ranked: &[Head],
        budget: f64,
        progress: &mut impl FnMut(usize, usize),
    ) -> Result<(Gpt2, ChosenLevels), ConvertError> {
        let passes = 3 + 2 * (ranked.len() + 1).ilog2() as usize;
        let mut kl_of = |near: usize, clusters: usize| {
            if let Some(known) = self.tried.get(&(near, clusters)) {
                return Ok(*known);
            }
            let kl = self.divergence(&self.levels(ranked, near, clusters))?;
            self.tried.insert((near, clusters), kl);
            let done = self.tried.len();
            progress(done, passes.max(done));
            Ok::<f64, ConvertError>(kl)
        };
        let kl_before = kl_of(0, 0)?;
        let allowed = kl_before + budget;
        let near = most(ranked.len(), |near| Ok(kl_of(near, 0)? <= allowed))?;
        let clusters = most(ranked.len() - near, |clusters| {
            Ok(kl_of(near, clusters)? <= allowed)
        })?;
        let kl_after = kl_of(near, clusters)?;
        let levels = self.levels(ranked, near, clusters);
        let model = with_levels(&self.model, &self.arms, &levels)?;
        let chosen = ChosenLevels {
            levels,
            kl_before,
            kl_after,
        };
        Ok((model, chosen))
    }

    /// Heads with lookups, ordered by increasing need for them. Stores the dense model's output.
    fn rank(&mut self, dense: &Gpt2) -> Result<Vec<Head>, ConvertError> {
        let mut masses = vec![vec![Vec::new(); dense.config().n_head]; self.arms.len()];
        for batch in self.batches {
            let mut x = dense.embed(batch, 0).detach();
            for (layer, block) in dense.h.iter().enumerate() {
                if let Some(config) = looking_up(&self.arms[layer]) {
                    let normed = block.ln_1.forward(x.clone());
                    let input = block.attn.project(normed, batch.padding());
                    for (head, mass) in far_masses(config, &block.attn.bsbr, input) {
                        masses[layer][head].extend(mass);
                    }
                }
                x = block.forward(x, batch.padding()).detach();
            }
            self.expected.push(dense.ln_f.forward(x));
        }
        let mut ranked: Vec<Head> = masses
            .into_iter()
            .enumerate()
            .flat_map(|(layer, heads)| {
                heads
                    .into_iter()
                    .enumerate()
                    .map(move |(head, masses)| Head {
                        layer,
                        head,
                        need: mean_of_most(masses),
                    })
            })
            .filter(|head| looking_up(&self.arms[head.layer]).is_some())
            .collect();
        ranked.sort_by(|a, b| a.need.total_cmp(&b.need));
        Ok(ranked)
    }

    /// Levels with which the first `near` heads in rank see their near field, and the next
    /// `clusters` heads see clusters.
    fn levels(&self, ranked: &[Head], near: usize, clusters: usize) -> Vec<Vec<HeadLevel>> {
        let heads = self.model.config().n_head;
        let mut levels = one_level(&self.arms, heads, HeadLevel::Lookups);
        for (rank, head) in ranked.iter().enumerate().take(near + clusters) {
            levels[head.layer][head.head] = match rank < near {
                true => HeadLevel::Near,
                false => HeadLevel::Clusters,
            };
        }
        levels
    }

    /// KL (dense ‖ arm) in nats per position.
    fn divergence(&self, levels: &[Vec<HeadLevel>]) -> Result<f64, ConvertError> {
        let model = with_levels(&self.model, &self.arms, levels)?;
        let (mut sum, mut positions) = (0.0, 0);
        for (batch, expected) in self.batches.iter().zip(&self.expected) {
            let found = model.hidden_states(batch)?;
            for row in 0..batch.batch_size() {
                let first = batch.padding().of_row(row);
                for start in (first..batch.seq_len()).step_by(SLAB) {
                    let len = SLAB.min(batch.seq_len() - start);
                    let logits = |x: &Tensor<3>| {
                        let slab = x.clone().narrow(0, row, 1).narrow(1, start, len);
                        model.logits(slab)
                    };
                    let (p, q) = (logits(expected), logits(&found));
                    let apart = log_softmax(p.clone(), 2) - log_softmax(q, 2);
                    sum += f64::from((softmax(p, 2) * apart).sum().into_scalar::<f32>());
                    positions += len;
                }
            }
        }
        Ok(sum / positions.max(1) as f64)
    }
}

/// The model with these levels in layers of these arms.
pub(crate) fn with_levels(
    model: &Gpt2,
    arms: &[ArmConfig],
    levels: &[Vec<HeadLevel>],
) -> Result<Gpt2, ConvertError> {
    let mut plan = ConversionPlan::uniform(ArmConfig::DENSE);
    for (layer, (arm, levels)) in arms.iter().zip(levels).enumerate() {
        let mut arm = arm.clone();
        let all = levels.iter().all(|level| *level == HeadLevel::Lookups);
        if let (ArmConfig::Moments(config), false) = (&mut arm, all) {
            config.levels.clone_from(levels);
        }
        plan = plan.with_layer(layer, arm);
    }
    convert(model.clone(), &plan)
}

/// One level for all heads of layers with lookups; none for other layers.
pub(crate) fn one_level(arms: &[ArmConfig], heads: usize, level: HeadLevel) -> Vec<Vec<HeadLevel>> {
    let of_arm = |arm| match looking_up(arm) {
        Some(_) => vec![level; heads],
        None => Vec::new(),
    };
    arms.iter().map(of_arm).collect()
}

/// The settings of an arm whose heads may have lower levels.
pub(crate) fn looking_up(arm: &ArmConfig) -> Option<&MomentsConfig> {
    match arm {
        ArmConfig::Moments(config) if config.looks_up() => Some(config),
        _ => None,
    }
}

/// Softmax mass that dense attention puts on far tokens, for every query of each head that has far
/// tokens.
fn far_masses(
    config: &MomentsConfig,
    dense: &Attention,
    input: AttentionInput,
) -> Vec<(usize, Vec<f64>)> {
    let grid = config.grid();
    let [batch, heads, n, _] = input.query.dims();
    let padding = input.padding.clone();
    let far = (0..n * n).map(|i| {
        let (query, key) = (i / n, i % n);
        let is_far = key <= query && !grid.attends(query, key);
        f32::from(u8::from(is_far))
    });
    let far = TensorData::new(far.collect::<Vec<_>>(), [1, 1, n, n]);
    let far: Tensor<4> = Tensor::from_data(far, &input.query.device());
    let first = grid.far_from(0);
    let maps = dense.weights(input).exact;
    let masses: Vec<f64> = (maps * far).sum_dim(3).into_data().iter::<f64>().collect();
    (0..batch * heads)
        .map(|number| {
            // Padded rows are shifted back, so this is stricter than necessary for them.
            let start = (first + padding.of_row(number / heads)).min(n);
            let of_head = &masses[number * n + start..(number + 1) * n];
            (number % heads, of_head.to_vec())
        })
        .collect()
}

/// The mean of the largest numbers, or 0 if there are none.
fn mean_of_most(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(|a, b| b.total_cmp(a));
    let count = (numbers.len() as f64 * SHARE).ceil() as usize;
    match count {
        0 => 0.0,
        _ => numbers[..count].iter().sum::<f64>() / count as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_fits_is_found() {
        for limit in [0, 1, 7, 100] {
            for fitting in [0, 1, 5, 100] {
                let found = most(limit, |n| Ok(n <= fitting)).ok();
                assert_eq!(found, Some(fitting.min(limit)));
            }
        }
    }

    #[test]
    fn few_queries_decide() {
        let mut numbers = vec![0.0; 198];
        numbers.extend([1.0, 0.5]);
        assert_eq!(mean_of_most(numbers), 0.75);
        assert_eq!(mean_of_most(Vec::new()), 0.0);
    }
}
