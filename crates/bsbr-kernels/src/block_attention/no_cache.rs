//! What stands in the place of the cache where the CPU backend that has one is not compiled in.

use burn::tensor::Tensor;

use super::stored::{StoredCacheError, StoredLists, StoredNumbers};

/// A cache that cannot be made: [`block_cache`](super::block_cache) gives none.
#[derive(Clone, Debug)]
pub enum BlockCache {}

impl BlockCache {
    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        match *self {}
    }

    /// All that is kept.
    pub fn stored(&self) -> StoredLists<'_> {
        match *self {}
    }

    /// The cache that gave these lists.
    ///
    /// # Errors
    ///
    /// None, as there is no cache.
    pub fn restored<'a>(
        &self,
        _: [usize; 4],
        _: &mut dyn FnMut(&str) -> Option<StoredNumbers<'a>>,
    ) -> Result<Self, StoredCacheError> {
        match *self {}
    }

    /// Output of the next tokens.
    pub fn attend(&mut self, _: Tensor<4>, _: Tensor<4>, _: Tensor<4>, _: f64) -> Tensor<4> {
        match *self {}
    }
}
