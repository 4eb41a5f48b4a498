//! Generation of text.

mod config;
mod defaults;
mod error;
mod generation;
mod sampler;

pub use config::{GenerationConfig, PREFILL_CHUNK_SIZE};
pub use defaults::GenerationDefaults;
pub use error::GenerationError;
pub use generation::Generation;
pub use sampler::Sampler;

use crate::batch::TokenBatch;
use crate::cache::Gpt2Cache;
use crate::model::Gpt2;

impl Gpt2 {
    /// Continues each prompt, and returns the new tokens of each.
    ///
    /// Every row gives the same tokens as alone (with `seed + r` as its seed), whatever the lengths
    /// of the others; see [`TokenBatch::padded`]. Tokens go through a [`Gpt2Cache`], so each new
    /// one costs one step.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] if a setting, a prompt or the number of positions is invalid, before
    /// anything is computed.
    pub fn generate(
        &self,
        prompts: &TokenBatch,
        config: &GenerationConfig,
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        let mut generation = self.generation(prompts, config)?;
        while generation.read_next()? {}
        while generation.next_tokens()?.is_some() {}
        Ok(generation.into_tokens())
    }

    /// Starts a generation that yields tokens step by step, to stream text or to stop early.
    ///
    /// # Errors
    ///
    /// Same as [`Self::generate`].
    pub fn generation(
        &self,
        prompts: &TokenBatch,
        config: &GenerationConfig,
    ) -> Result<Generation, GenerationError> {
        Generation::new(self, prompts, config, self.new_cache())
    }

    /// Same as [`Self::generation`], for one prompt whose first tokens are in `cache` already. At
    /// least its last token must not be in the cache.
    ///
    /// # Errors
    ///
    /// Same as [`Self::generate`]; also if the cache belongs to another model or holds the whole
    /// prompt.
    pub fn generation_after(
        &self,
        prompt: &[u32],
        config: &GenerationConfig,
        cache: Gpt2Cache,
    ) -> Result<Generation, GenerationError> {
        Generation::new(self, &TokenBatch::single(prompt)?, config, cache)
    }
}
