//! Streaming through a cache.

mod stored;

pub use stored::StoredCacheError;

use bsbr_attention::{ArmConfig, Cache, HeadShape};
use burn::tensor::Tensor;

use crate::batch::TokenBatch;
use crate::error::InputError;
use crate::model::Gpt2;

/// The cache of a model, so that new tokens do not recompute earlier ones.
///
/// Made by [`Gpt2::new_cache`], filled by [`Gpt2::forward_cached`]; one per batch.
#[derive(Debug, Clone)]
pub struct Gpt2Cache {
    layers: Vec<Cache>,
    /// The arm of each layer.
    arms: Vec<ArmConfig>,
    lengths: Vec<usize>,
    shape: HeadShape,
}

impl Gpt2Cache {
    /// Number of cached tokens of each row without padding; empty before the first batch.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Number of cached tokens of row `row`.
    pub fn length_of_row(&self, row: usize) -> usize {
        self.lengths.get(row).copied().unwrap_or(0)
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Size in bytes, over all layers, rows and heads.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(Cache::bytes).sum()
    }
}

impl Gpt2 {
    /// An empty cache for one batch.
    pub fn new_cache(&self) -> Gpt2Cache {
        Gpt2Cache {
            layers: vec![Cache::new(); self.h.len()],
            arms: self.arms().cloned().collect(),
            lengths: Vec::new(),
            shape: self.base.head_shape(),
        }
    }

    /// Hidden states after the final norm of the tokens that follow those in `cache`. Adds the
    /// tokens to the cache.
    ///
    /// The first batch may be padded on the left. A call that fails leaves the cache unchanged.
    ///
    /// # Shapes
    ///
    /// - batch: B rows of N new tokens each
    /// - output: `[B, N, n_embd]`
    ///
    /// # Errors
    ///
    /// [`InputError`] if the model cannot take the batch, or if the cache belongs to another model
    /// or batch.
    ///
    /// # Example
    ///
    /// ```
    /// # use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
    /// # use burn::tensor::Device;
    /// let config = Gpt2Config::from_json(
    ///     r#"{"vocab_size": 11, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}"#,
    /// )?;
    /// let model = Gpt2::init(&config, 1, &Device::default())?;
    /// let mut cache = model.new_cache();
    /// model.forward_cached(&TokenBatch::single(&[3, 1, 4])?, &mut cache)?;
    /// let next = model.forward_cached(&TokenBatch::single(&[1])?, &mut cache)?;
    /// assert_eq!(next.dims(), [1, 1, 8]);
    /// assert_eq!(cache.lengths(), [4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_cached(
        &self,
        batch: &TokenBatch,
        cache: &mut Gpt2Cache,
    ) -> Result<Tensor<3>, InputError> {
        self.check_cache(batch, cache)?;
        self.check_lengths(batch, cache)?;
        Ok(self.forward_checked(batch, cache, |_| ()))
    }

    /// Same as [`Self::all_hidden_states`] for the tokens that follow those in `cache`. Adds the
    /// tokens to the cache.
    ///
    /// # Shapes
    ///
    /// - batch: B rows of N new tokens each
    /// - output: `n_layer + 1` of `[B, N, n_embd]`
    ///
    /// # Errors
    ///
    /// Same as [`Self::forward_cached`].
    pub fn all_hidden_states_cached(
        &self,
        batch: &TokenBatch,
        cache: &mut Gpt2Cache,
    ) -> Result<Vec<Tensor<3>>, InputError> {
        self.check_cache(batch, cache)?;
        self.check_lengths(batch, cache)?;
        let mut states = Vec::with_capacity(self.h.len() + 1);
        let last = self.forward_checked(batch, cache, |state| states.push(state.clone()));
        // The final norm's output replaces the last block's.
        states.truncate(self.h.len());
        states.push(last);
        Ok(states)
    }

    /// Same as [`Self::forward_cached`], in pieces of at most `piece` tokens, so that memory does
    /// not grow with the batch. Returns only the last piece's hidden states.
    ///
    /// # Shapes
    ///
    /// - output: `[B, n, n_embd]`, where n ≤ `piece` plus the padding
    ///
    /// # Errors
    ///
    /// Same as [`Self::forward_cached`].
    pub fn prefill(
        &self,
        batch: &TokenBatch,
        cache: &mut Gpt2Cache,
        piece: usize,
    ) -> Result<Tensor<3>, InputError> {
        self.check_cache(batch, cache)?;
        self.check_lengths(batch, cache)?;
        let mut last = None;
        for piece in batch.pieces(piece) {
            last = Some(self.forward_checked(&piece, cache, |_| ()));
        }
        last.ok_or(InputError::Empty)
    }

    /// Same as [`Self::forward_cached`] for rows of one token. Rows that are not `active` are
    /// placeholders: they may exceed the last position, and their output is meaningless.
    pub(crate) fn step_cached(
        &self,
        batch: &TokenBatch,
        cache: &mut Gpt2Cache,
        active: &[bool],
    ) -> Result<Tensor<3>, InputError> {
        self.check_cache(batch, cache)?;
        for (row, _) in active.iter().enumerate().filter(|(_, active)| **active) {
            self.check_length(cache.length_of_row(row) + batch.seq_len())?;
        }
        Ok(self.forward_checked(batch, cache, |_| ()))
    }

    fn check_lengths(&self, batch: &TokenBatch, cache: &Gpt2Cache) -> Result<(), InputError> {
        (0..batch.batch_size()).try_for_each(|row| {
            let new = batch.seq_len() - batch.padding().of_row(row);
            self.check_length(cache.length_of_row(row) + new)
        })
    }

    fn check_cache(&self, batch: &TokenBatch, cache: &Gpt2Cache) -> Result<(), InputError> {
        batch.check_vocabulary(self.base.vocab_size)?;
        let mismatch = |what, found, expected| {
            Err(InputError::CacheMismatch {
                what,
                found,
                expected,
            })
        };
        if cache.layers.len() != self.h.len() {
            return mismatch("layers", cache.layers.len(), self.h.len());
        }
        let (held, own) = (cache.shape, self.base.head_shape());
        if held.num_heads != own.num_heads {
            return mismatch("heads", held.num_heads, own.num_heads);
        }
        if held.head_dim != own.head_dim {
            return mismatch("dimensions per head", held.head_dim, own.head_dim);
        }
        let mut arms = cache.arms.iter().zip(self.arms()).enumerate();
        if let Some((layer, (found, expected))) = arms.find(|(_, (held, own))| held != own) {
            return Err(InputError::CacheOfOtherArm {
                layer,
                found: described(found),
                expected: described(expected),
            });
        }
        if cache.is_empty() {
            return Ok(());
        }
        if cache.lengths.len() != batch.batch_size() {
            return mismatch("rows", cache.lengths.len(), batch.batch_size());
        }
        for (row, &past) in cache.lengths.iter().enumerate() {
            let padding = batch.padding().of_row(row);
            if padding > 0 {
                return Err(InputError::PaddedContinuation { row, padding, past });
            }
        }
        Ok(())
    }

    /// Hidden states after the final norm. `passed` receives the embeddings and each block's output.
    fn forward_checked(
        &self,
        batch: &TokenBatch,
        cache: &mut Gpt2Cache,
        passed: impl FnMut(&Tensor<3>) + Send,
    ) -> Tensor<3> {
        // A step consists of about a hundred short operations.
        // Subscribers of this thread also see the spans of the worker.
        let watcher = tracing::dispatcher::get_default(Clone::clone);
        bsbr_kernels::on_workers(&self.device(), || {
            tracing::dispatcher::with_default(&watcher, || {
                self.forward_on_worker(batch, cache, passed)
            })
        })
    }

    fn forward_on_worker(
        &self,
        batch: &TokenBatch,
        cache: &mut Gpt2Cache,
        mut passed: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let mut x = self.embed_after(batch, |row| cache.length_of_row(row));
        passed(&x);
        for (block, layer) in self.h.iter().zip(&mut cache.layers) {
            x = block.forward_with(x, batch.padding(), |attention, input| {
                attention.forward_cached(input, layer)
            });
            passed(&x);
        }
        cache.lengths.resize(batch.batch_size(), 0);
        for (row, length) in cache.lengths.iter_mut().enumerate() {
            *length += batch.seq_len() - batch.padding().of_row(row);
        }
        self.ln_f.forward(x)
    }
}

/// An arm as written in `config.json`.
fn described(arm: &ArmConfig) -> String {
    serde_json::to_string(arm).unwrap_or_else(|_| arm.name().to_owned())
}
