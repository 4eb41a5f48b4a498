#![doc = include_str!("../README.md")]
// Burn has deprecated its ndarray backend; it intentionally stays available here.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

mod attention;
mod bf16_matmul;
mod bias;
mod block_attention;
mod clusters;
mod collectives;
mod cpu;
mod cross_entropy;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
mod gelu;
mod grid;
mod half;
mod layer_norm;
mod linear_cross_entropy;
mod mixed_matmul;
mod packed_attention;
mod packed_linear;
mod workers;

/// Burn, in the version of this crate's tensors and devices.
pub use burn;

pub use attention::{AttentionOps, causal_attention, causal_attention_plain};
pub use bf16_matmul::{
    Bf16MatmulOps, Bf16Weight, bf16_matmul, bf16_matmul_plain, prefers_bf16_matmul,
};
pub use bias::{BiasOps, add_bias, add_bias_gelu, add_bias_gelu_plain, add_bias_plain};
#[cfg(feature = "flex")]
pub use block_attention::SharedBlockCache;
pub use block_attention::{
    BlockAttention, BlockAttentionOps, BlockCache, BlockStates, BlockStatesPrimitive, HeadLevel,
    HeadLevels, KvBits, Spans, StoredCacheError, StoredLists, StoredNumbers, UnknownKvBits,
    block_attention, block_attention_plain, block_cache, dense_block_cache, fuses_block_attention,
    round_to_bits,
};
pub use clusters::{merge_clusters, split_into_clusters};
pub use collectives::has_collectives;
pub use cross_entropy::{CrossEntropyOps, cross_entropy, cross_entropy_plain};
pub use gelu::{GeluOps, gelu_new, gelu_new_plain};
pub use grid::Grid;
pub use layer_norm::{LayerNormOps, layer_norm, layer_norm_plain};
pub use linear_cross_entropy::{
    LinearCrossEntropyOps, linear_cross_entropy, linear_cross_entropy_bf16,
    linear_cross_entropy_plain,
};
pub use mixed_matmul::{
    MixedMatmulOps, fuses_mixed_matmul, is_gpu, mixed_matmul, mixed_matmul_plain,
};
pub use packed_attention::{
    PackedAttentionOps, causal_attention_packed, causal_attention_packed_plain,
};
pub use packed_linear::{
    Int8Weight, PackedActivation, PackedLinear, PackedLinearOps, ProductType, WeightLayout,
    packed_linear, packed_linear_plain,
};
pub use workers::on_workers;
