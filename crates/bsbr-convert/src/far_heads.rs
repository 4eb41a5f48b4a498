//! Which heads must look far in a model that reads more tokens than it was trained for.
//!
//! Heads that go by position meet tokens there whose positions look near and are not; where they look
//! far, they are misled. Heads that go by content find what was said long before. Which is which shows
//! in what the model predicts beyond its trained positions.

use std::collections::HashMap;

use bsbr_attention::{ArmConfig, HeadLevel};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::error::ConvertError;
use crate::levels::{looking_up, with_levels};

/// Tokens that no near field reaches back.
const FAR: usize = 512;
/// A token is rare that is not more than one in so many of its text.
const RARE: usize = 1000;
/// Positions whose logits are held at once.
const SLAB: usize = 256;
/// Times that each head is tried beside those that were chosen before.
const ROUNDS: usize = 2;

/// By how many nats a head that looks far lowers the loss, where nothing else is said.
pub const LEAST_GAIN: f64 = 0.01;

/// Texts that heads are chosen on, where nothing else is said.
pub const LONG_TEXTS: usize = 3;

/// A level for each head of each layer; none in layers whose heads have no choice.
type Levels = Vec<Vec<HeadLevel>>;

/// A text that heads are chosen on: longer than the trained positions, with targets that need what was
/// said long before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongText {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Of every token but the first, whether far tokens say what it is.
    pub far: Vec<bool>,
}

impl LongText {
    /// Tokens of a text for a model of `positions` positions, the first `trained` of them trained:
    /// enough beyond these, where there are so many.
    pub fn length(positions: usize, trained: usize) -> usize {
        positions.min(5 * trained / 2)
    }

    /// A text of which nobody knows what it asks for: rare tokens count as said by far ones where
    /// the pair of them and the token before stood in the text, but not within the last 512 tokens.
    pub fn of_copies(ids: Vec<u32>) -> Self {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for id in &ids {
            *counts.entry(*id).or_default() += 1;
        }
        let often = 1 + ids.len() / RARE;
        let mut last: HashMap<&[u32], usize> = HashMap::new();
        let is_copy = |(at, pair)| {
            let before = last.insert(pair, at);
            before.is_some_and(|before| at - before > FAR) && counts[&pair[1]] <= often.max(2)
        };
        let far = ids.windows(2).enumerate().map(is_copy).collect();
        Self { ids, far }
    }
}

/// Mean cross entropies beyond the trained positions, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FarLoss {
    /// Of all tokens.
    pub all: f64,
    /// Of those that far tokens say; 0 where there is none.
    pub far: f64,
}

impl FarLoss {
    /// What heads are chosen by: both count alike, however few far tokens there are.
    fn sum(self) -> f64 {
        self.all + self.far
    }
}

/// Which heads look far, and what that gains on the texts that they were chosen on.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenFarHeads {
    /// Level of each head of each layer, in layers of the moments arm that look clusters up; none in
    /// others.
    pub levels: Vec<Vec<HeadLevel>>,
    /// Losses where every head sees its near field alone.
    pub near: FarLoss,
    /// Losses where every head looks far.
    pub far: FarLoss,
    /// Losses as chosen.
    pub chosen: FarLoss,
}

/// Whether some heads of a model may look far or not.
pub fn has_far_heads(model: &Gpt2) -> bool {
    let mut blocks = model.h.iter();
    blocks.any(|block| looking_up(block.attn.bsbr.config()).is_some())
}

/// Lets those heads of `model` look far that lower the loss on `texts` beyond the first `trained`
/// positions by `least` nats or more; all others see their near field. The loss is the mean of all
/// tokens plus the mean of those that far tokens say.
///
/// Every head is tried alone first. Then they are tried in the order of what each gained, each beside
/// those chosen before it, and once more all that were not chosen. `progress` is told how many of at
/// most how many passes over the texts are done.
///
/// `model` has the longer table of positions already.
///
/// # Errors
///
/// [`ConvertError`] where the model cannot read a text.
pub fn choose_far_heads(
    model: Gpt2,
    texts: &[LongText],
    trained: usize,
    least: f64,
    mut progress: impl FnMut(usize, usize),
) -> Result<(Gpt2, ChosenFarHeads), ConvertError> {
    let arms: Vec<_> = model
        .h
        .iter()
        .map(|b| b.attn.bsbr.config().clone())
        .collect();
    let heads = model.config().n_head;
    let all = |level| of_arms(&arms, heads, level);
    let candidates: Vec<(usize, usize)> = all(HeadLevel::Near)
        .iter()
        .enumerate()
        .flat_map(|(layer, levels)| (0..levels.len()).map(move |head| (layer, head)))
        .collect();
    let passes = 2 + (1 + ROUNDS) * candidates.len();
    let mut done = 0;
    let mut loss = |levels: &Levels| {
        let loss = loss(&with_levels(&model, &arms, levels)?, texts, trained);
        done += 1;
        progress(done, passes);
        loss
    };
    let (near, far) = (
        loss(&all(HeadLevel::Near))?,
        loss(&all(HeadLevel::Lookups))?,
    );
    let with = |levels: &Levels, (layer, head): (usize, usize)| {
        let mut levels = levels.clone();
        levels[layer][head] = HeadLevel::Lookups;
        levels
    };
    let mut ranked = Vec::new();
    for head in candidates {
        let alone = loss(&with(&all(HeadLevel::Near), head))?;
        ranked.push((head, alone.sum()));
    }
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranked: Vec<(usize, usize)> = ranked.into_iter().map(|(head, _)| head).collect();
    let (mut levels, mut chosen) = (all(HeadLevel::Near), near);
    for _ in 0..ROUNDS {
        let mut left = Vec::new();
        for head in ranked {
            let tried = with(&levels, head);
            let found = loss(&tried)?;
            match found.sum() <= chosen.sum() - least {
                true => (levels, chosen) = (tried, found),
                false => left.push(head),
            }
        }
        ranked = left;
    }
    let model = with_levels(&model, &arms, &levels)?;
    let chosen = ChosenFarHeads {
        levels,
        near,
        far,
        chosen,
    };
    Ok((model, chosen))
}

/// One level for all heads of layers that look clusters up.
fn of_arms(arms: &[ArmConfig], heads: usize, level: HeadLevel) -> Levels {
    let of_arm = |arm| match looking_up(arm) {
        Some(_) => vec![level; heads],
        None => Vec::new(),
    };
    arms.iter().map(of_arm).collect()
}

/// The losses of a model beyond its first `trained` positions.
fn loss(model: &Gpt2, texts: &[LongText], trained: usize) -> Result<FarLoss, ConvertError> {
    let (mut all, mut far) = ((0.0, 0_usize), (0.0, 0_usize));
    for text in texts {
        let count = text.ids.len().saturating_sub(1);
        let Some((_, targets)) = text.ids.split_first().filter(|_| trained < count) else {
            continue;
        };
        let hidden = model.hidden_states(&TokenBatch::single(&text.ids[..count])?)?;
        for start in (trained..count).step_by(SLAB) {
            let len = SLAB.min(count - start);
            let logits = model.logits(hidden.clone().narrow(1, start, len));
            let next: Vec<i32> = targets[start..start + len]
                .iter()
                .map(|&id| id as i32)
                .collect();
            let next = TensorData::new(next, [1, len, 1]);
            let next: Tensor<3, Int> = Tensor::from_data(next, &model.device());
            let logs = log_softmax(logits, 2).gather(2, next).into_data();
            for (log, is_far) in logs.iter::<f64>().zip(text.far.iter().skip(start)) {
                all = (all.0 - log, all.1 + 1);
                if *is_far {
                    far = (far.0 - log, far.1 + 1);
                }
            }
        }
    }
    let mean = |(sum, count): (f64, usize)| sum / count.max(1) as f64;
    Ok(FarLoss {
        all: mean(all),
        far: mean(far),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_pairs_that_stood_far_back_are_copies() {
        // 1 2 … 1 2 … 1 2: the second lies far behind the first, the third near the second.
        let mut ids: Vec<u32> = (0..700).map(|i| 100 + i).collect();
        ids[3..5].copy_from_slice(&[1, 2]);
        ids[600..602].copy_from_slice(&[1, 2]);
        ids[650..652].copy_from_slice(&[1, 2]);
        ids[660..662].copy_from_slice(&[9, 2]);
        let text = LongText::of_copies(ids.clone());
        assert_eq!(text.far.len(), ids.len() - 1);
        // Four times in 700 tokens is often.
        assert!(text.far.iter().all(|far| !far));
        ids[660] = 8;
        ids[661] = 7;
        ids[650] = 6;
        ids[651] = 5;
        let text = LongText::of_copies(ids);
        let found: Vec<usize> = (0..699).filter(|at| text.far[*at]).collect();
        assert_eq!(found, [600]);
    }
}
