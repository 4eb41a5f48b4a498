//! Evaluation on storybook: perplexity and questions.

use std::ops::Range;

use bsbr_data::storybook::{Domain, QaSpec, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, InputError, TokenBatch};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::questions::Question;

/// Number of tokens whose logits are in memory at one time, if all are computed.
const ROWS: usize = 256;

/// The settings of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Seed of the texts and questions.
    pub seed: u64,
    /// Their split.
    pub split: Split,
    /// Plain texts of each domain for the perplexity.
    pub texts_per_domain: u64,
    /// Words of such a text.
    pub words_per_text: usize,
    /// Minimum distances between a fact and its question, in words.
    pub distances: Vec<usize>,
    /// Questions at each distance.
    pub questions: u64,
    /// Answers to choose from.
    pub num_candidates: usize,
}

/// Questions about facts at one distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QaScore {
    /// Minimum distance, in words.
    pub min_distance_words: usize,
    /// Mean number of tokens between fact and question.
    pub mean_distance_tokens: f64,
    /// The number of questions that fit the model's positions.
    pub questions: u64,
    /// Questions where the correct candidate has the highest likelihood.
    pub among_candidates: u64,
    /// Questions where greedy decoding gives the correct answer.
    pub exact: u64,
    /// Number of candidates; chance is one in this number.
    pub num_candidates: usize,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// exp of the mean cross entropy per token of plain text, with each text alone in one window,
    /// after the end-of-text token.
    pub perplexity: f64,
    /// The number of tokens for the perplexity.
    pub tokens: u64,
    /// Questions by distance.
    pub qa: Vec<QaScore>,
}

/// Evaluates `model` on texts and questions that are not in its training data.
///
/// # Errors
///
/// [`TrainError`] if a text does not fit the model or its tokenizer.
pub fn evaluate(
    model: &Gpt2,
    tokenizer: &TextTokenizer,
    spec: &EvaluationSpec,
) -> Result<Evaluation, TrainError> {
    let book = Storybook::new(spec.seed);
    let (mut nats, mut tokens) = (0.0, 0u64);
    for domain in Domain::ALL {
        for index in 0..spec.texts_per_domain {
            let text = book
                .plain(spec.split, domain, index, spec.words_per_text)
                .text;
            let mut ids = tokenizer.encode_document(&text)?;
            ids.truncate(model.config().n_positions);
            if ids.len() < 2 {
                continue;
            }
            nats += negative_log_likelihood(model, &ids, 1..ids.len())?;
            tokens += ids.len() as u64 - 1;
        }
    }
    let qa = spec
        .distances
        .iter()
        .map(|&distance| questions(model, tokenizer, &book, spec, distance))
        .collect::<Result<_, _>>()?;
    Ok(Evaluation {
        perplexity: (nats / tokens.max(1) as f64).exp(),
        tokens,
        qa,
    })
}

/// Sum of the negative log likelihoods of the tokens `ids[scored]`, in nats; each is predicted from
/// all earlier tokens.
///
/// # Errors
///
/// [`InputError`] if the model cannot take the tokens before the last.
pub fn negative_log_likelihood(
    model: &Gpt2,
    ids: &[u32],
    scored: Range<usize>,
) -> Result<f64, InputError> {
    let batch = TokenBatch::single(&ids[..ids.len().saturating_sub(1)])?;
    Ok(nll(model, model.hidden_states(&batch)?, ids, scored))
}

/// The same, from the model's hidden states of at least all tokens but the last.
///
/// # Shapes
///
/// - hidden: `[1, N, n_embd]`
pub fn nll(model: &Gpt2, hidden: Tensor<3>, ids: &[u32], scored: Range<usize>) -> f64 {
    let count = ids.len().saturating_sub(1);
    let size = model.config().n_embd;
    let device = hidden.device();
    let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
    let targets: Tensor<1, Int> = Tensor::from_data(TensorData::new(targets, [count]), &device);
    let weight = |at: usize| f32::from(u8::from(scored.contains(&(at + 1))));
    let weights: Vec<f32> = (0..count).map(weight).collect();
    let weights = Tensor::from_data(TensorData::new(weights, [count]), &device);
    let hidden = hidden.narrow(1, 0, count);
    let table = model.output_table();
    // A packed output layer does not use the table, and `linear_cross_entropy` needs tensors of one
    // type.
    if model.packed_bytes() == 0 && table.dtype() == hidden.dtype() {
        let hidden = hidden.reshape([count, size]);
        let sum = bsbr_kernels::linear_cross_entropy(hidden, table, targets, weights);
        return f64::from(sum.into_scalar::<f32>());
    }
    let sums = (0..count).step_by(ROWS).map(|first| {
        let rows = ROWS.min(count - first);
        let logits = model.logits(hidden.clone().narrow(1, first, rows));
        let shape = [rows, logits.dims()[2]];
        let part = bsbr_kernels::cross_entropy(
            logits.reshape(shape),
            targets.clone().narrow(0, first, rows),
            weights.clone().narrow(0, first, rows),
        );
        f64::from(part.into_scalar::<f32>())
    });
    sums.sum()
}

fn questions(
    model: &Gpt2,
    tokenizer: &TextTokenizer,
    book: &Storybook,
    spec: &EvaluationSpec,
    distance: usize,
) -> Result<QaScore, TrainError> {
    let qa = QaSpec {
        min_distance_words: distance,
        num_candidates: spec.num_candidates,
        ..QaSpec::default()
    };
    let mut score = QaScore {
        min_distance_words: distance,
        mean_distance_tokens: 0.0,
        questions: 0,
        among_candidates: 0,
        exact: 0,
        num_candidates: spec.num_candidates,
    };
    for index in 0..spec.questions {
        let question = Question::new(tokenizer, &book.qa(spec.split, index, &qa))?;
        let longest = question.candidates.iter().map(Vec::len).max();
        if question.ids.len() + longest.unwrap_or(0) > model.config().n_positions {
            continue;
        }
        let answer = question.answer(model)?;
        score.questions += 1;
        score.among_candidates += u64::from(answer.among);
        score.exact += u64::from(answer.exact);
        score.mean_distance_tokens += question.distance as f64;
    }
    score.mean_distance_tokens /= score.questions.max(1) as f64;
    Ok(score)
}
