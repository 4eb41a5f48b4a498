//! Stands in for the cache if the CPU backend that has it is not compiled in.

use burn::tensor::Tensor;

use super::stored::{StoredCacheError, StoredLists, StoredNumbers};

/// A cache that cannot exist: [`block_cache`](super::block_cache) returns `None`.
#[derive(Clone, Debug)]
pub enum BlockCache {}

impl BlockCache {
    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        match *self {}
    }

    /// The contents of the cache.
    pub fn stored(&self) -> StoredLists<'_> {
        match *self {}
    }

    /// The cache from stored lists.
    ///
    /// # Errors
    ///
    /// Never, because there is no cache.
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
