//! A model's cache as lists of numbers, and back.

use bsbr_kernels::{StoredLists, StoredNumbers};

use super::Gpt2Cache;
use crate::model::Gpt2;

/// A cache that cannot be stored, or lists that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredCacheError {
    /// A cache of several sequences, or of none.
    #[error("the cache holds {rows} sequences, expected 1; store one at a time")]
    NotOneRow {
        /// Sequences.
        rows: usize,
    },
    /// An arm whose cache is tensors.
    #[error(
        "layer {layer}: what `{arm}` keeps of a text cannot be stored on this device; on flex that of \
         dense, local, and moments without a state and without learned parameters can"
    )]
    NotStored {
        /// The layer.
        layer: usize,
        /// Its arm.
        arm: String,
    },
    /// A list that is not what the model's cache has.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer.
        layer: usize,
        /// What is wrong.
        source: bsbr_kernels::StoredCacheError,
    },
}

impl Gpt2Cache {
    /// All that is kept of one sequence, as lists whose names no two share.
    ///
    /// # Errors
    ///
    /// [`StoredCacheError`] where there are more sequences, or where an arm's cache is tensors.
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
    /// The cache of one sequence of `tokens` tokens that gave these lists; `take` gives each by its
    /// name.
    ///
    /// That they are of this model is for the caller to know: here they only have its shape.
    ///
    /// # Errors
    ///
    /// [`StoredCacheError`] where a list is not what the model's cache of so many tokens has.
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
