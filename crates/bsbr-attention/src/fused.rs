//! A whole sequence through one kernel with its own gradient, on backends that have it.

use bsbr_kernels::{BlockAttention, BlockStates, block_attention, fuses_block_attention};
use burn::tensor::{DType, Tensor};

use crate::compression::CompressionBases;
use crate::config::MomentsConfig;

/// Whether the kernel supports such tensors, and the sequence is long enough to differ
/// from dense attention.
pub(crate) fn is_best(settings: &BlockAttention, query: &Tensor<4>) -> bool {
    settings.grid.far_chunks(query.dims()[2]) > 0 && fuses_block_attention(query, settings)
}

/// The moments arm.
///
/// # Shapes
///
/// - query, key, value, output: `[B, H, N, D]`
pub(crate) fn moments(
    config: &MomentsConfig,
    bases: Option<&CompressionBases>,
    [query, key, value]: [Tensor<4>; 3],
    scale: f64,
) -> Tensor<4> {
    let states = match bases {
        _ if !config.state => BlockStates::Off,
        None => BlockStates::Whole,
        Some(bases) => BlockStates::Compressed {
            key: bases.key.val().cast(DType::F32),
            value: bases.value.val().cast(DType::F32),
        },
    };
    block_attention(query, key, value, states, config.block_attention(), scale)
}
