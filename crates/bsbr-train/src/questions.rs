//! A model's answers to storybook questions.

use bsbr_convert::LongText;
use bsbr_data::storybook::{QaItem, tokens_between};
use bsbr_data::stream::{StreamConfig, TrainingStream};
use bsbr_data::tokenizer::{TextTokenizer, TokenizerError};
use bsbr_gpt2::{Gpt2, Gpt2Cache, InputError, PREFILL_CHUNK_SIZE, TokenBatch};
use burn::tensor::Tensor;

/// A question as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The document and the start of the answer's sentence.
    pub ids: Vec<u32>,
    /// Possible continuations, each with its leading space, including the answer.
    pub candidates: Vec<Vec<u32>>,
    /// The index of the answer among the candidates.
    pub right: usize,
    /// Tokens from the fact to the end of `ids`.
    pub distance: usize,
}

/// `count` storybook texts of `tokens` tokens each, with answers that far tokens determine: for the
/// choice of far heads. None is in a split for measurements.
///
/// # Errors
///
/// [`TokenizerError`] if the tokenizer cannot encode them, or has no end-of-text token.
pub fn long_texts(
    tokenizer: &TextTokenizer,
    tokens: usize,
    count: u64,
) -> Result<Vec<LongText>, TokenizerError> {
    let config = StreamConfig {
        fact_share: 1.0,
        ..StreamConfig::for_window(0, tokens.saturating_sub(1))
    };
    let stream = TrainingStream::new(tokenizer.clone(), config)?;
    (0..count)
        .map(|index| {
            let window = stream.window(index, 0)?;
            let far = window.weights.iter().map(|weight| *weight > 1.0).collect();
            let ids = window.ids;
            Ok(LongText { ids, far })
        })
        .collect()
}

/// A model's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Whether the correct candidate has the highest likelihood.
    pub among: bool,
    /// Whether greedy decoding gives the correct answer.
    pub exact: bool,
    /// The correct candidate's share of the probability of all candidates.
    pub share: f64,
}

impl Question {
    /// Encodes a question.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] if the tokenizer cannot encode it.
    pub fn new(tokenizer: &TextTokenizer, item: &QaItem) -> Result<Self, TokenizerError> {
        let candidates = item
            .candidates
            .iter()
            .map(|candidate| tokenizer.encode(&format!(" {candidate}")))
            .collect::<Result<_, _>>()?;
        let right = item.candidates.iter().position(|one| *one == item.answer);
        Ok(Self {
            ids: tokenizer.encode_document(&format!("{}{}", item.context, item.prompt))?,
            candidates,
            right: right.unwrap_or_default(),
            distance: tokens_between(tokenizer, item)?,
        })
    }

    /// The answer of `model`.
    ///
    /// A candidate's likelihood is that of all its tokens. The document is read once, in pieces of
    /// [`PREFILL_CHUNK_SIZE`] tokens.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the model cannot take the document or a candidate after it.
    pub fn answer(&self, model: &Gpt2) -> Result<Answer, InputError> {
        let batch = TokenBatch::single(&self.ids)?;
        let mut cache = model.new_cache();
        let hidden = model.prefill(&batch, &mut cache, PREFILL_CHUNK_SIZE)?;
        let first = LogProbabilities::of(model, hidden);
        let scores = self
            .candidates
            .iter()
            .map(|tokens| score(model, &first, &cache, tokens))
            .collect::<Result<Vec<Score>, _>>()?;
        let right = scores.get(self.right).copied().unwrap_or_default();
        let others = scores
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != self.right);
        let best = others.fold(f64::NEG_INFINITY, |best, (_, one)| best.max(one.nats));
        let total: f64 = scores.iter().map(|one| (one.nats - right.nats).exp()).sum();
        Ok(Answer {
            among: right.nats > best,
            exact: right.greedy,
            share: 1.0 / total,
        })
    }
}

/// A candidate's log likelihood, and whether each of its tokens is the most probable one.
#[derive(Debug, Clone, Copy)]
struct Score {
    nats: f64,
    greedy: bool,
}

impl Default for Score {
    fn default() -> Self {
        Self {
            nats: f64::NEG_INFINITY,
            greedy: false,
        }
    }
}

fn score(
    model: &Gpt2,
    first: &LogProbabilities,
    cache: &Gpt2Cache,
    tokens: &[u32],
) -> Result<Score, InputError> {
    let Some((&token, mut rest)) = tokens.split_first() else {
        return Ok(Score::default());
    };
    let mut score = first.score(token);
    if rest.is_empty() {
        return Ok(score);
    }
    let (mut last, mut cache) = (token, cache.clone());
    while let Some((&next, after)) = rest.split_first() {
        let hidden = model.forward_cached(&TokenBatch::single(&[last])?, &mut cache)?;
        let one = LogProbabilities::of(model, hidden).score(next);
        score.nats += one.nats;
        score.greedy &= one.greedy;
        (last, rest) = (next, after);
    }
    Ok(score)
}

/// The next token's log probabilities.
struct LogProbabilities {
    logits: Vec<f32>,
    highest: f32,
    log_sum: f64,
}

impl LogProbabilities {
    fn of(model: &Gpt2, hidden: Tensor<3>) -> Self {
        let data = model.last_logits(hidden).into_data();
        let logits: Vec<f32> = data.iter::<f32>().collect();
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&x| f64::from(x - highest).exp()).sum();
        Self {
            log_sum: f64::from(highest) + sum.ln(),
            logits,
            highest,
        }
    }

    fn score(&self, token: u32) -> Score {
        match self.logits.get(token as usize) {
            None => Score::default(),
            Some(&logit) => Score {
                nats: f64::from(logit) - self.log_sum,
                greedy: logit >= self.highest,
            },
        }
    }
}
