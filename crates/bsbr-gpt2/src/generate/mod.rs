//! Continuing texts.

mod config;
mod defaults;
mod error;
mod sampler;

pub use config::GenerationConfig;
pub use defaults::GenerationDefaults;
pub use error::GenerationError;
pub use sampler::Sampler;

use burn::module::Module;
use burn::tensor::{DType, Tensor};

use crate::batch::TokenBatch;
use crate::model::Gpt2;

/// One row while it grows.
struct Row {
    ids: Vec<u32>,
    sampler: Sampler,
    done: bool,
}

impl Gpt2 {
    /// Continues each prompt, and gives the new tokens of each.
    ///
    /// Every row gets what it gets alone (with `seed + r` as its seed), whatever the lengths of the
    /// others; see [`TokenBatch::padded`]. Tokens go through a [`Gpt2Cache`](crate::Gpt2Cache), so
    /// each new one costs one step.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] where a setting, a prompt or the number of positions does not fit;
    /// before anything is computed.
    pub fn generate(
        &self,
        prompts: &TokenBatch,
        config: &GenerationConfig,
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        self.generate_with(prompts, config, |_, _| {})
    }

    /// As [`Self::generate`], and calls `on_token(row, id)` for each new token as it is chosen.
    ///
    /// # Errors
    ///
    /// As [`Self::generate`].
    pub fn generate_with(
        &self,
        prompts: &TokenBatch,
        config: &GenerationConfig,
        mut on_token: impl FnMut(usize, u32),
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        self.check_generation(prompts, config)?;
        let mut rows = (0..prompts.batch_size())
            .map(|row| {
                let left = prompts.padding().of_row(row);
                Ok(Row {
                    ids: prompts.row(row).get(left..).unwrap_or_default().to_vec(),
                    sampler: Sampler::new(config, row)?,
                    done: false,
                })
            })
            .collect::<Result<Vec<_>, GenerationError>>()?;
        let model = self.valid();
        let mut cache = model.new_cache();
        let mut hidden = model.forward_cached(prompts, &mut cache)?;
        for step in 1..=config.max_new_tokens {
            let logits = read(model.last_logits(hidden))?;
            let logits = logits.chunks_exact(self.config().vocab_size);
            for (index, (row, logits)) in rows.iter_mut().zip(logits).enumerate() {
                if !row.done {
                    let id = row.sampler.next_token(logits, &row.ids)?;
                    on_token(index, id);
                    row.ids.push(id);
                    row.done = config.stop_tokens.contains(&id);
                }
            }
            let active: Vec<bool> = rows.iter().map(|row| !row.done).collect();
            if step == config.max_new_tokens || !active.contains(&true) {
                break;
            }
            let last: Vec<&[u32]> = rows
                .iter()
                .map(|row| &row.ids[row.ids.len() - 1..])
                .collect();
            hidden = model.step_cached(&TokenBatch::rows(&last)?, &mut cache, &active)?;
        }
        Ok(rows
            .into_iter()
            .enumerate()
            .map(|(row, grown)| {
                let prompt = prompts.seq_len() - prompts.padding().of_row(row);
                grown.ids.get(prompt..).unwrap_or_default().to_vec()
            })
            .collect())
    }

    fn check_generation(
        &self,
        prompts: &TokenBatch,
        config: &GenerationConfig,
    ) -> Result<(), GenerationError> {
        config.validate_for(self.config().vocab_size)?;
        prompts.check_vocabulary(self.config().vocab_size)?;
        let Some(n_positions) = self.max_positions() else {
            return Ok(());
        };
        for row in 0..prompts.batch_size() {
            let prompt = prompts.seq_len() - prompts.padding().of_row(row);
            let needed = prompt.saturating_add(config.max_new_tokens - 1);
            if needed > n_positions {
                return Err(GenerationError::TooLong {
                    row,
                    prompt,
                    max_new_tokens: config.max_new_tokens,
                    needed,
                    n_positions,
                });
            }
        }
        Ok(())
    }
}

fn read(logits: Tensor<2>) -> Result<Vec<f32>, GenerationError> {
    let device_error = |message: String| GenerationError::Device { message };
    let data = logits
        .try_into_data_dtype(DType::F32)
        .map_err(|error| device_error(error.to_string()))?;
    data.try_into_vec()
        .map_err(|error| device_error(error.to_string()))
}
