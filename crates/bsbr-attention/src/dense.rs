//! Exact causal softmax attention.

use bsbr_kernels::{KvBits, causal_attention, round_to_bits};
use burn::tensor::Tensor;

use crate::attention::AttentionInput;

/// The whole arm; keys and values are rounded as in the cache.
///
/// # Shapes
///
/// - output: `[B, H, N, D]`
pub(crate) fn forward(bits: KvBits, input: AttentionInput) -> Tensor<4> {
    let ([query, key, value], scale) = input.without_hidden_states();
    let [key, value] = [key, value].map(|x| round_to_bits(x, bits));
    attend(query, key, value, scale)
}

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
