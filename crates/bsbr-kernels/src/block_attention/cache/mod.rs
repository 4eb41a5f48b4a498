//! The cache of streamed sequences.
//!
//! For every head: its sinks and near tokens unrounded; the means of the clusters of each far
//! chunk; and, with lookups, the chunk's tokens in the order of clusters, in the bits of the
//! settings. A chunk is summarised once, when the first chunk begins for which it is far.

mod head;
mod spans;
mod stored;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{FloatDType, TensorData, read_sync};
use rayon::prelude::*;

use super::settings::{BlockAttention, KvBits};
use crate::cpu::tensor::{Heads, dense, rows_of_heads};
use crate::grid::Grid;
use head::{HeadCache, Scratch};

/// The cache of sequences, for [`block_attention`](super::block_attention) without states of their
/// next tokens.
///
/// All sequences have the same length.
#[derive(Clone, Debug)]
pub struct BlockCache {
    settings: BlockAttention,
    /// Whether near tokens are rounded like far ones.
    rounds_near: bool,
    /// Number of tokens fed.
    tokens: usize,
    /// Heads of all sequences.
    heads: Vec<HeadCache>,
}

impl BlockCache {
    /// An empty cache.
    pub fn new(settings: BlockAttention) -> Self {
        Self {
            settings,
            rounds_near: false,
            tokens: 0,
            heads: Vec::new(),
        }
    }

    /// An empty cache in which all tokens are seen exactly, with keys and values rounded to the
    /// given bits.
    pub fn dense(kv_bits: KvBits) -> Self {
        Self {
            // In 32 bits nothing is rounded, and the cache can be read in place.
            rounds_near: kv_bits != KvBits::ThirtyTwo,
            ..Self::new(BlockAttention {
                grid: Grid::DENSE,
                kv_bits,
                ..BlockAttention::default()
            })
        }
    }

    /// The keys that a query sees.
    pub fn settings(&self) -> &BlockAttention {
        &self.settings
    }

    /// The size in bytes, over all sequences and heads. Buffers that grow in steps have slightly
    /// more room.
    pub fn bytes(&self) -> usize {
        self.heads.iter().map(HeadCache::bytes).sum()
    }

    /// Number of tokens fed.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Output of the next tokens, laid out as `[B, n, H, D]`.
    pub(super) fn feed(&mut self, [q, k, v]: [Heads<'_>; 3], scale: f32) -> Vec<f32> {
        let [b, h, n, d] = q.shape;
        if self.heads.is_empty() {
            let of_head = |number: usize| {
                HeadCache::new(self.settings.of_head(number % h), d, self.rounds_near)
            };
            self.heads = (0..b * h).map(of_head).collect();
        }
        let mut out = vec![0.0; b * n * h * d];
        let rows = rows_of_heads(&mut out, q.shape);
        let heads = self.heads.par_iter_mut().zip(rows).enumerate();
        heads.with_max_len(1).for_each_init(
            Scratch::default,
            |scratch, (number, (head, mut rows))| {
                let [q, k, v] = [q, k, v].map(|x| x.head(number / h, number % h));
                head.feed([q, k, v], scale, &mut rows, scratch);
            },
        );
        self.tokens += n;
        out
    }
}

/// A cache that is passed through a backend's operation.
#[derive(Clone, Debug, Default)]
pub struct SharedBlockCache(Arc<Mutex<Option<BlockCache>>>);

impl SharedBlockCache {
    /// Puts a cache in.
    pub(super) fn hold(&self, cache: BlockCache) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cache);
    }

    /// Takes the cache out.
    pub(super) fn release(&self) -> Option<BlockCache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Output of the next tokens, laid out as `[B, n, H, D]`.
    pub(super) fn feed(&self, inputs: [Heads<'_>; 3], scale: f64) -> Vec<f32> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .as_mut()
            .map(|cache| cache.feed(inputs, scale as f32))
            .unwrap_or_default()
    }
}

/// The operation on tensors of any backend, through the host.
pub(super) fn on_host<B: Backend>(
    inputs: [FloatTensor<B>; 3],
    cache: &SharedBlockCache,
    scale: f64,
) -> FloatTensor<B> {
    let device = inputs[0].device();
    let dtype = FloatDType::from(inputs[0].dtype());
    let inputs = inputs.map(|x| {
        let shape = x.shape();
        let data = read_sync(B::float_into_data(x)).map(|data| data.iter::<f32>().collect());
        // Unreadable data gives NaN.
        let data = data.unwrap_or_else(|_| vec![f32::NAN; shape.num_elements()]);
        dense(data, shape)
    });
    let heads = inputs.each_ref().map(Heads::new);
    let [b, h, n, d] = heads[0].shape;
    let output = cache.feed(heads, scale);
    let output = B::float_from_data(TensorData::new(output, [b, n, h, d]), &device);
    B::float_cast(B::float_swap_dims(output, 1, 2), dtype)
}
