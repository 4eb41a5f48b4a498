//! Settings of generation.

use serde::{Deserialize, Serialize};

use super::GenerationError;

/// Settings of [`Gpt2::generate`](crate::Gpt2::generate), with the meaning of `transformers`.
///
/// Logits pass the repetition penalty, then `no_repeat_ngram_size`, then the temperature, then
/// `top_k`, then `top_p`, then `min_p`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// The maximum number of new tokens per row.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 always takes the most probable token and ignores `top_k`, `top_p`
    /// and `min_p`.
    pub temperature: f64,
    /// Only the k most probable tokens, and ties with the last of them, are sampled.
    pub top_k: Option<usize>,
    /// Only the smallest set of most probable tokens with this total probability is sampled; 1
    /// for all.
    pub top_p: f64,
    /// Only tokens with at least this share of the highest probability are sampled; 0 for all.
    pub min_p: f64,
    /// Divides positive logits and multiplies negative ones of tokens that the row already
    /// contains, including its prompt; 1 for none.
    pub repetition_penalty: f64,
    /// No n-gram of this length occurs twice in a row, including its prompt; 0 for no such rule.
    pub no_repeat_ngram_size: usize,
    /// Row r samples from the ChaCha8 generator with seed `seed + r`.
    pub seed: u64,
    /// Tokens that end a row; the row includes the stop token.
    pub stop_tokens: Vec<u32>,
    /// Prompt tokens per pass. The memory of reading grows with this number, not with the
    /// prompt.
    pub prefill_chunk_size: usize,
}

/// The default number of tokens per pass; more save little time.
pub const PREFILL_CHUNK_SIZE: usize = 512;

impl Default for GenerationConfig {
    /// 20 tokens, chosen greedily.
    fn default() -> Self {
        Self {
            max_new_tokens: 20,
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            seed: 0,
            stop_tokens: Vec::new(),
            prefill_chunk_size: PREFILL_CHUNK_SIZE,
        }
    }
}

impl GenerationConfig {
    /// Checks every setting against its bounds.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Setting`] names the first invalid setting.
    pub fn validate(&self) -> Result<(), GenerationError> {
        let check = |setting, fits, found: String, expected| match fits {
            true => Ok(()),
            false => Err(GenerationError::Setting {
                setting,
                found,
                expected,
            }),
        };
        check(
            "max_new_tokens",
            self.max_new_tokens > 0,
            self.max_new_tokens.to_string(),
            "1 or more",
        )?;
        check(
            "temperature",
            self.temperature == 0.0 || (1e-6..=1e6).contains(&self.temperature),
            self.temperature.to_string(),
            "0 for the most probable token, or 0.000001 to 1000000",
        )?;
        check(
            "top_k",
            self.top_k != Some(0),
            "0".into(),
            "1 or more, or none",
        )?;
        check(
            "top_p",
            (0.0..=1.0).contains(&self.top_p),
            self.top_p.to_string(),
            "a probability from 0 to 1",
        )?;
        check(
            "min_p",
            (0.0..=1.0).contains(&self.min_p),
            self.min_p.to_string(),
            "a share from 0 to 1",
        )?;
        check(
            "prefill_chunk_size",
            self.prefill_chunk_size > 0,
            self.prefill_chunk_size.to_string(),
            "1 or more",
        )?;
        check(
            "repetition_penalty",
            (1e-6..=1e6).contains(&self.repetition_penalty),
            self.repetition_penalty.to_string(),
            "0.000001 to 1000000, 1 for none",
        )
    }

    /// Checks every setting, including the stop tokens against the vocabulary.
    pub(crate) fn validate_for(&self, vocab_size: usize) -> Result<(), GenerationError> {
        self.validate()?;
        match self
            .stop_tokens
            .iter()
            .find(|&&id| id as usize >= vocab_size)
        {
            None => Ok(()),
            Some(id) => Err(GenerationError::Setting {
                setting: "stop_tokens",
                found: id.to_string(),
                expected: "ids of the model's vocabulary",
            }),
        }
    }
}
