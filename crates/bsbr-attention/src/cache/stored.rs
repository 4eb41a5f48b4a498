//! A cache as lists of numbers, and its restoration.

use bsbr_kernels::{StoredCacheError, StoredLists, StoredNumbers};
use burn::tensor::{Device, Tensor};

use super::{Cache, Group, Kept, block};
use crate::attention::Attention;

impl Cache {
    /// The contents of a cache of one sequence, if the kernel's own cache holds it; else `None`.
    pub fn stored(&self) -> Option<StoredLists<'_>> {
        match self.groups.as_slice() {
            [
                Group {
                    rows,
                    kept: Kept::Block(kept),
                    ..
                },
            ] if rows.len() == 1 => Some(kept.stored()),
            _ => None,
        }
    }
}

impl Attention {
    /// The cache of one sequence of `tokens` tokens from stored lists; `take` returns each by its
    /// name. `None` if the kernel has no cache for the arm on this device.
    ///
    /// # Errors
    ///
    /// [`StoredCacheError`] if a list does not fit such a cache.
    pub fn restored_cache<'a>(
        &self,
        tokens: usize,
        [heads, head_dim]: [usize; 2],
        device: &Device,
        take: &mut dyn FnMut(&str) -> Option<StoredNumbers<'a>>,
    ) -> Result<Option<Cache>, StoredCacheError> {
        let like = Tensor::<4>::zeros([1, heads, 1, head_dim], device);
        let Some(empty) = block::cache(self, &like) else {
            return Ok(None);
        };
        let kept = empty.restored([1, heads, tokens, head_dim], take)?;
        Ok(Some(Cache {
            groups: vec![Group {
                rows: vec![0],
                tokens,
                kept: Kept::Block(Box::new(kept)),
            }],
        }))
    }
}
