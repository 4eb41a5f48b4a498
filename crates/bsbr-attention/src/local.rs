//! Attention to only sinks and near field.

use burn::tensor::Tensor;

use crate::chunked::Chunked;
use crate::config::LocalConfig;
use crate::fused;
use bsbr_kernels::Grid;

impl LocalConfig {
    /// The sinks and the chunk grid.
    pub fn grid(&self) -> Grid {
        Grid {
            sinks: self.sink_tokens,
            chunk_size: self.chunk_size,
            near_chunks: self.near_chunks,
        }
    }
}

/// softmax over the sinks and the near field.
///
/// # Shapes
///
/// - query, key, value, output: `[B, H, N, D]`
pub(crate) fn forward(
    config: &LocalConfig,
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    scale: f64,
) -> Tensor<4> {
    let grid = config.grid();
    if fused::is_best(&grid, None, &query) {
        return fused::local(&grid, [query, key, value], scale);
    }
    Chunked::new(grid, query, key, value, scale).attend(None)
}
