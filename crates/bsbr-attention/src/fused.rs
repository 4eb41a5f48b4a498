//! An arm over a whole sequence by one kernel with its own gradient, on backends that
//! have it.

use bsbr_kernels::{BlockAttention, BlockStates, block_attention, fuses_block_attention};
use burn::tensor::{DType, Tensor};

use crate::compression::CompressionBases;
use crate::config::MomentsConfig;
use bsbr_kernels::Grid;

/// Whether the kernel supports such tensors, and the sequence is long enough to differ
/// from dense attention. Without `config`, for only sinks and near field.
pub(crate) fn is_best(grid: &Grid, config: Option<&MomentsConfig>, query: &Tensor<4>) -> bool {
    let settings = config.map_or(near(grid), MomentsConfig::block_attention);
    grid.far_chunks(query.dims()[2]) > 0 && fuses_block_attention(query, &settings)
}

/// Only sinks and near field.
///
/// # Shapes
///
/// - query, key, value, output: `[B, H, N, D]`
pub(crate) fn local(grid: &Grid, [query, key, value]: [Tensor<4>; 3], scale: f64) -> Tensor<4> {
    block_attention(query, key, value, BlockStates::Off, near(grid), scale)
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

impl MomentsConfig {
    /// The settings of the kernel.
    pub(crate) fn block_attention(&self) -> BlockAttention {
        BlockAttention {
            clusters: self.clusters,
            exact_clusters: self.exact_clusters,
            kv_bits: self.kv_bits,
            levels: self.head_levels(),
            spans: self.spans(),
            ..near(&self.grid())
        }
    }
}

/// Only sinks and near field.
pub(crate) fn near(grid: &Grid) -> BlockAttention {
    BlockAttention {
        grid: *grid,
        ..BlockAttention::default()
    }
}
