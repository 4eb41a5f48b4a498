//! The choice of far heads in a model that reads more tokens than it was trained for.
//!
//! In such a model, positions repeat, so far tokens look near and mislead heads that attend by
//! position. Heads that attend by content find earlier text. The predictions of the model beyond
//! its trained positions show which heads are which.

use std::collections::HashMap;

use bsbr_attention::HeadLevel;
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::error::ConvertError;
use crate::levels::{looking_up, one_level, with_levels};

/// A distance in tokens beyond every near field.
const FAR: usize = 512;
/// The inverse of the largest share of a text at which a token counts as rare.
const RARE: usize = 1000;
/// Positions whose logits are held at once.
const SLAB: usize = 256;
/// The number of passes in which each head is tried beside those already chosen.
const ROUNDS: usize = 2;

/// The default decrease of the loss, in nats, that a far head must achieve.
pub const LEAST_GAIN: f64 = 0.01;

/// The default number of texts for the choice of heads.
pub const LONG_TEXTS: usize = 3;

/// A level for each head of each layer; empty for layers whose heads have no choice.
type Levels = Vec<Vec<HeadLevel>>;

/// A text for the choice of heads: longer than the trained positions, with targets that depend on
/// far tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongText {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// For every token except the first, whether far tokens determine it.
    pub far: Vec<bool>,
}

impl LongText {
    /// The length of a text for a model of `positions` positions, of which the first `trained` are
    /// trained: enough tokens beyond these, if there are so many.
    pub fn length(positions: usize, trained: usize) -> usize {
        positions.min(5 * trained / 2)
    }

    /// A text without known far targets: a rare token counts as determined by far tokens if the
    /// pair of the previous token and it occurred in the text, but not within the last 512 tokens.
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
    /// Of those determined by far tokens; 0 if there are none.
    pub far: f64,
}

impl FarLoss {
    /// The criterion of the choice: both have equal weight, however few far targets there are.
    fn sum(self) -> f64 {
        self.all + self.far
    }
}

/// The far heads, and their gain on the texts of the choice.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenFarHeads {
    /// Level of each head of each layer, in layers of the moments arm with lookups; empty in
    /// others.
    pub levels: Vec<Vec<HeadLevel>>,
    /// Losses if every head sees only its near field.
    pub near: FarLoss,
    /// Losses if every head sees its far field.
    pub far: FarLoss,
    /// Losses with the chosen heads.
    pub chosen: FarLoss,
}

/// Whether any heads of a model can be chosen.
pub fn has_far_heads(model: &Gpt2) -> bool {
    let mut blocks = model.h.iter();
    blocks.any(|block| looking_up(block.attn.bsbr.config()).is_some())
}

/// Gives those heads of `model` a far field that lower the loss on `texts` beyond the first
/// `trained` positions by at least `least` nats; all others see only their near field. The loss is
/// the mean of all tokens plus the mean of those determined by far tokens.
///
/// Every head is first tried alone. Then heads are tried in the order of their gains, each beside
/// those chosen before it, and the others once more at the end. `progress` receives the number of
/// finished passes over the texts and the maximum.
///
/// `model` must already have the longer position table.
///
/// # Errors
///
/// [`ConvertError`] if the model cannot read a text.
pub fn choose_far_heads(
    model: Gpt2,
    texts: &[LongText],
    trained: usize,
    least: f64,
    mut progress: impl FnMut(usize, usize),
) -> Result<(Gpt2, ChosenFarHeads), ConvertError> {
    let arms: Vec<_> = model.arms().cloned().collect();
    let heads = model.config().n_head;
    let all = |level| one_level(&arms, heads, level);
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
        // 1 2 … 1 2 … 1 2: the second is far behind the first, the third near the second.
        let mut ids: Vec<u32> = (0..700).map(|i| 100 + i).collect();
        ids[3..5].copy_from_slice(&[1, 2]);
        ids[600..602].copy_from_slice(&[1, 2]);
        ids[650..652].copy_from_slice(&[1, 2]);
        ids[660..662].copy_from_slice(&[9, 2]);
        let text = LongText::of_copies(ids.clone());
        assert_eq!(text.far.len(), ids.len() - 1);
        // Four times in 700 tokens is not rare.
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
