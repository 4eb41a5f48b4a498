//! Generation, step by step.

use std::collections::VecDeque;

use burn::module::Module;
use burn::tensor::{DType, Tensor};

use super::{GenerationConfig, GenerationError, Sampler};
use crate::batch::TokenBatch;
use crate::cache::Gpt2Cache;
use crate::error::InputError;
use crate::model::Gpt2;

/// A generation in progress, made by [`Gpt2::generation`].
///
/// First it reads the prompts in pieces, then it chooses tokens. Between steps it can be dropped,
/// and rows can be stopped.
///
/// # Example
///
/// ```
/// # use bsbr_gpt2::{GenerationConfig, Gpt2, Gpt2Config, TokenBatch};
/// # use burn::tensor::Device;
/// # let config = Gpt2Config::from_json(
/// #     r#"{"vocab_size": 11, "n_positions": 32, "n_embd": 8, "n_layer": 2, "n_head": 2}"#,
/// # )?;
/// # let model = Gpt2::init(&config, 1, &Device::default())?;
/// let prompt = TokenBatch::single(&[3, 1, 4, 1, 5])?;
/// let mut generation = model.generation(&prompt, &GenerationConfig::default())?;
/// while generation.read_next()? {
///     println!("{} of {}", generation.tokens_read(), generation.prompt_tokens());
/// }
/// while let Some(tokens) = generation.next_tokens()? {
///     for (row, id) in tokens {
///         println!("row {row} goes on with {id}");
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Generation {
    model: Gpt2,
    config: GenerationConfig,
    cache: Gpt2Cache,
    rows: Vec<Row>,
    /// The unread part of the prompts.
    unread: VecDeque<TokenBatch>,
    /// Final hidden states of the last piece. `[B, n, n_embd]`
    hidden: Option<Tensor<3>>,
    /// Tokens chosen for the longest row.
    steps: usize,
}

/// The state of one row.
#[derive(Debug)]
struct Row {
    ids: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    sampler: Sampler,
    done: bool,
}

impl Generation {
    pub(super) fn new(
        model: &Gpt2,
        prompts: &TokenBatch,
        config: &GenerationConfig,
        cache: Gpt2Cache,
    ) -> Result<Self, GenerationError> {
        check(model, prompts, config)?;
        let past = cache.length_of_row(0);
        let unread = prompts
            .without_columns(past)
            .ok_or(InputError::NothingUnread {
                prompt: prompts.seq_len(),
                past,
            })?;
        let rows = (0..prompts.batch_size()).map(|row| {
            let left = prompts.padding().of_row(row);
            let ids = prompts.row(row).get(left..).unwrap_or_default().to_vec();
            Ok(Row {
                prompt: ids.len(),
                ids,
                sampler: Sampler::new(config, row)?,
                done: false,
            })
        });
        Ok(Self {
            rows: rows.collect::<Result<_, GenerationError>>()?,
            unread: unread.pieces(config.prefill_chunk_size).collect(),
            model: model.valid(),
            config: config.clone(),
            cache,
            hidden: None,
            steps: 0,
        })
    }

    /// Reads the next piece of the prompts; returns false if all pieces have been read.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Input`] if the cache belongs to another model.
    pub fn read_next(&mut self) -> Result<bool, GenerationError> {
        let Some(piece) = self.unread.pop_front() else {
            return Ok(false);
        };
        self.hidden = Some(self.model.forward_cached(&piece, &mut self.cache)?);
        Ok(true)
    }

    /// Chooses the next token of each active row and returns the rows with their tokens; `None` if
    /// all rows have ended. Reads unread parts of the prompts first.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] if the model's logits give no choice.
    pub fn next_tokens(&mut self) -> Result<Option<Vec<(usize, u32)>>, GenerationError> {
        while self.read_next()? {}
        let active: Vec<bool> = self.rows.iter().map(|row| !row.done).collect();
        if self.steps == self.config.max_new_tokens || !active.contains(&true) {
            return Ok(None);
        }
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => self.step(&active)?,
        };
        let logits = read(self.model.last_logits(hidden))?;
        let logits = logits.chunks_exact(self.model.base.vocab_size);
        let mut chosen = Vec::new();
        for (index, (row, logits)) in self.rows.iter_mut().zip(logits).enumerate() {
            if !row.done {
                let id = row.sampler.next_token(logits, &row.ids)?;
                chosen.push((index, id));
                row.ids.push(id);
                row.done = self.config.stop_tokens.contains(&id);
            }
        }
        self.steps += 1;
        Ok(Some(chosen))
    }

    /// Feeds the last chosen tokens.
    fn step(&mut self, active: &[bool]) -> Result<Tensor<3>, GenerationError> {
        let last: Vec<&[u32]> = self
            .rows
            .iter()
            .map(|row| &row.ids[row.ids.len().saturating_sub(1)..])
            .collect();
        let batch = TokenBatch::rows(&last)?;
        Ok(self.model.step_cached(&batch, &mut self.cache, active)?)
    }

    /// Ends a row.
    pub fn stop(&mut self, row: usize) {
        if let Some(row) = self.rows.get_mut(row) {
            row.done = true;
        }
    }

    /// Tokens of the longest prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.prompt).max().unwrap_or(0)
    }

    /// Tokens read of the longest row, including those from the initial cache.
    pub fn tokens_read(&self) -> usize {
        self.cache.lengths().iter().copied().max().unwrap_or(0)
    }

    /// The new tokens of a row so far.
    pub fn new_tokens(&self, row: usize) -> &[u32] {
        let row = self.rows.get(row);
        row.and_then(|row| row.ids.get(row.prompt..))
            .unwrap_or_default()
    }

    /// The cache of all tokens except those chosen last.
    pub fn cache(&self) -> &Gpt2Cache {
        &self.cache
    }

    /// The new tokens of each row.
    pub fn into_tokens(self) -> Vec<Vec<u32>> {
        let rows = self.rows.into_iter();
        rows.map(|mut row| row.ids.split_off(row.prompt)).collect()
    }
}

fn check(
    model: &Gpt2,
    prompts: &TokenBatch,
    config: &GenerationConfig,
) -> Result<(), GenerationError> {
    config.validate_for(model.base.vocab_size)?;
    prompts.check_vocabulary(model.base.vocab_size)?;
    let Some(n_positions) = model.max_positions() else {
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

fn read(logits: Tensor<2>) -> Result<Vec<f32>, GenerationError> {
    let device_error = |message: String| GenerationError::Device { message };
    let data = logits
        .try_into_data_dtype(DType::F32)
        .map_err(|error| device_error(error.to_string()))?;
    data.try_into_vec()
        .map_err(|error| device_error(error.to_string()))
}
