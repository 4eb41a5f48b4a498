//! Exact causal softmax attention.

use bsbr_kernels::causal_attention;
use burn::tensor::Tensor;

/// softmax(σ q·k) v, the queries being those of the last tokens: query i of n sees
/// the keys `0..=N − n + i`.
///
/// # Shapes
///
/// - query: `[B, H, n, D]`
/// - key, value: `[B, H, N, D]`, N ≥ n
/// - output: `[B, H, n, D]`
pub(crate) fn attend(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, scale: f64) -> Tensor<4> {
    causal_attention(query, key, value, scale)
}
