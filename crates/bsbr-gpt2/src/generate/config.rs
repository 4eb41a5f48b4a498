//! How to continue a text.

use serde::{Deserialize, Serialize};

use super::GenerationError;

/// Settings of [`Gpt2::generate`](crate::Gpt2::generate), with the meaning that `transformers`
/// gives them.
///
/// Logits pass the repetition penalty, then `no_repeat_ngram_size`, then the temperature, then
/// `top_k`, then `top_p`, then `min_p`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// The most tokens to add to each row.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the most probable token each time, without chance and without
    /// `top_k`, `top_p` and `min_p`.
    pub temperature: f64,
    /// Only the k most probable tokens are drawn from, and those that tie with the last of them.
    pub top_k: Option<usize>,
    /// Only the fewest most probable tokens that make up this much probability are drawn from; 1
    /// for all.
    pub top_p: f64,
    /// Only tokens whose probability is at least this share of the most probable one's are drawn
    /// from; 0 for all.
    pub min_p: f64,
    /// Divides positive logits and multiplies negative ones of tokens that the row already has,
    /// its prompt included; 1 for none.
    pub repetition_penalty: f64,
    /// No n-gram of this length occurs twice in a row, its prompt included; 0 for no such rule.
    pub no_repeat_ngram_size: usize,
    /// Row r draws from the ChaCha8 generator seeded with `seed + r`.
    pub seed: u64,
    /// Tokens that end a row; the one met is the row's last token.
    pub stop_tokens: Vec<u32>,
    /// Tokens of a prompt that are read at once. What a pass over the prompt holds does not grow
    /// with the prompt, but with this.
    pub prefill_chunk_size: usize,
}

/// Tokens of a text that are read at once where nothing else is said: more gain little time.
pub const PREFILL_CHUNK_SIZE: usize = 512;

impl Default for GenerationConfig {
    /// 20 tokens, each the most probable.
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
    /// [`GenerationError::Setting`] names the first that is wrong.
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

    /// Checks every setting, the stop tokens against the vocabulary too.
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
