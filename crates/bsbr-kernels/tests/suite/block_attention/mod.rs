//! Block attention against its plain form.

#[cfg(feature = "flex")]
mod cache;
mod gradients;
mod outputs;
mod properties;

use crate::common::{devices, tensor};
use bsbr_kernels::{
    BlockAttention, BlockStates, Grid, HeadLevels, KvBits, Spans, block_attention,
    block_attention_plain,
};
use burn::tensor::{Device, Tensor};

/// Chunks of 8 in 4 clusters, one near chunk, 3 sinks.
const SETTINGS: BlockAttention = BlockAttention {
    grid: Grid {
        sinks: 3,
        chunk_size: 8,
        near_chunks: 1,
    },
    clusters: 4,
    exact_clusters: 0,
    kv_bits: KvBits::ThirtyTwo,
    levels: HeadLevels::LOOKUPS,
    spans: Spans::NONE,
};

/// Settings with a change.
fn with(mut settings: BlockAttention, change: impl FnOnce(&mut BlockAttention)) -> BlockAttention {
    change(&mut settings);
    settings
}

/// [`SETTINGS`] with lookups.
fn looking_up(exact_clusters: usize) -> BlockAttention {
    with(SETTINGS, |s| s.exact_clusters = exact_clusters)
}

/// Chunks that take several blocks of queries, without and with lookups, and more clusters than a
/// step has keys.
fn large() -> [BlockAttention; 3] {
    let grid = |sinks, chunk_size, near_chunks| Grid {
        sinks,
        chunk_size,
        near_chunks,
    };
    let settings = with(SETTINGS, |s| (s.grid, s.clusters) = (grid(5, 150, 2), 32));
    let best = with(settings, |s| s.exact_clusters = 5);
    let many = with(SETTINGS, |s| (s.grid, s.clusters) = (grid(2, 8, 1), 8));
    [settings, best, many]
}

/// q, k, v.
fn inputs(shape: [usize; 4], device: &Device) -> [Tensor<4>; 3] {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(shape, seed, 1.5, device));
    [q, k + 0.3, v]
}

/// q, k, v whose rows and columns are transposed and flipped in memory.
fn flipped(device: &Device) -> [Tensor<4>; 3] {
    [1, 2, 3].map(|seed| {
        let x = tensor([2, 3, 16, 61], seed, 1.0, device);
        x.swap_dims(2, 3).flip([0, 2])
    })
}

/// q, k, v as the heads of a projection `[B, N, 3, H, D]`.
fn heads(qkv: &Tensor<5>) -> [Tensor<4>; 3] {
    [0, 1, 2].map(|part| {
        let part = qkv.clone().narrow(2, part, 1).squeeze_dim::<4>(2);
        part.swap_dims(1, 2)
    })
}

/// Devices without autodiff.
fn plain_devices() -> Vec<Device> {
    devices().into_iter().map(Device::inner).collect()
}

/// The outputs of the fused and of the plain form.
fn both(
    [q, k, v]: &[Tensor<4>; 3],
    states: &BlockStates,
    settings: BlockAttention,
    scale: f64,
) -> [Tensor<4>; 2] {
    [block_attention, block_attention_plain].map(|op| {
        let (q, k, v) = (q.clone(), k.clone(), v.clone());
        op(q, k, v, states.clone(), settings, scale)
    })
}
