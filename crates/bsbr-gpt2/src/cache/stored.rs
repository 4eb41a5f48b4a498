//! A model's cache as lists of numbers, and its restoration.

use bsbr_kernels::{StoredLists, StoredNumbers};

use super::Gpt2Cache;
use crate::model::Gpt2;

/// A cache that cannot be stored, or lists that are not a stored cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredCacheError {
    /// A cache of several sequences, or an empty one.
    #[error("the cache holds {rows} sequences, expected 1; store one at a time")]
    NotOneRow {
        /// Number of sequences.
        rows: usize,
    },
    /// An arm whose cache is tensors.
    #[error(
        "layer {layer}: the cache of `{arm}` cannot be stored on this device; flex can store the \
         cache of dense, local, and moments without a state and without learned parameters"
    )]
    NotStored {
        /// The layer.
        layer: usize,
        /// Its arm.
        arm: String,
    },
    /// A list that does not fit the model's cache.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer.
        layer: usize,
        /// The error in the list.
        source: bsbr_kernels::StoredCacheError,
    },
}

impl Gpt2Cache {
    /// The contents of a cache of one sequence, as lists with unique names.
    ///
    /// # Errors
    ///
    /// [`StoredCacheError`] if there are more sequences, or if an arm's cache is tensors.
    pub fn stored(&self) -> Result<StoredLists<'_>, StoredCacheError> {
        if self.lengths.len() != 1 {
            return Err(StoredCacheError::NotOneRow {
                rows: self.lengths.len(),
            });
        }
        let mut all = Vec::new();
        for (layer, cache) in self.layers.iter().enumerate() {
            let lists = cache.stored().ok_or_else(|| self.not_stored(layer))?;
            let named = |(name, numbers)| (format!("{layer}.{name}"), numbers);
            all.extend(lists.into_iter().map(named));
        }
        Ok(all)
    }

    fn not_stored(&self, layer: usize) -> StoredCacheError {
        StoredCacheError::NotStored {
            layer,
            arm: self
                .arms
                .get(layer)
                .map(super::described)
                .unwrap_or_default(),
        }
    }
}

impl Gpt2 {
    /// The cache of one sequence of `tokens` tokens from stored lists; `take` returns each by its
    /// name.
    ///
    /// The caller must know that the lists belong to this model; only shapes are checked here.
    ///
    /// # Errors
    ///
    /// [`StoredCacheError`] if a list does not fit the model's cache of this length.
    pub fn restored_cache<'a>(
        &self,
        tokens: usize,
        mut take: impl FnMut(&str) -> Option<StoredNumbers<'a>>,
    ) -> Result<Gpt2Cache, StoredCacheError> {
        let mut cache = self.new_cache();
        let shape = [cache.shape.num_heads, cache.shape.head_dim];
        let device = self.device();
        for (layer, block) in self.h.iter().enumerate() {
            let mut of_layer = |name: &str| take(&format!("{layer}.{name}"));
            cache.layers[layer] = block
                .attn
                .bsbr
                .restored_cache(tokens, shape, &device, &mut of_layer)
                .map_err(|source| StoredCacheError::Layer { layer, source })?
                .ok_or_else(|| cache.not_stored(layer))?;
        }
        cache.lengths = vec![tokens];
        Ok(cache)
    }
}
