//! Weights of far chunks' states: w_c = softmax_b(r_c·h_b), S_c = Σ_b w_cb F_b.

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor};

use crate::masks::mask;

/// w for several receiving chunks, where receiver i sees summaries `0..=i`.
///
/// # Shapes
///
/// - receivers: `[B, H, C, D]`, the r_c
/// - summaries: `[B, H, C, D]`, the h_b
/// - output: `[B, H, C, C]`, rows sum to one
pub(crate) fn triangular_weights(
    receivers: Tensor<4>,
    summaries: Tensor<4>,
    scale: f64,
) -> Tensor<4> {
    let count = summaries.dims()[2];
    let mask = mask([count, count], &summaries.device(), |to, from| from <= to);
    softmax(
        scores(receivers, summaries, scale) + mask.unsqueeze::<4>(),
        3,
    )
}

/// w for receivers that see all summaries.
///
/// # Shapes
///
/// - receivers: `[B, H, n, D]`
/// - summaries: `[B, H, C, D]`
/// - output: `[B, H, n, C]`
pub(crate) fn weights(receivers: Tensor<4>, summaries: Tensor<4>, scale: f64) -> Tensor<4> {
    softmax(scores(receivers, summaries, scale), 3)
}

fn scores(receivers: Tensor<4>, summaries: Tensor<4>, scale: f64) -> Tensor<4> {
    let (receivers, summaries) = (receivers.cast(DType::F32), summaries.cast(DType::F32));
    (receivers * scale).matmul(summaries.swap_dims(2, 3))
}

/// S_c = Σ_b w_cb F_b.
///
/// # Shapes
///
/// - weights: `[B, H, n, C]`
/// - states: `[B, H, C, r, r]`
/// - output: `[B, H, n, r, r]`
pub(crate) fn mix(weights: Tensor<4>, states: Tensor<5>) -> Tensor<5> {
    let [b, h, c, rows, columns] = states.dims();
    let n = weights.dims()[2];
    weights
        .matmul(states.reshape([b, h, c, rows * columns]))
        .reshape([b, h, n, rows, columns])
}
