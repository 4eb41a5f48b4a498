//! The passes through the unpacked ones, for any backend.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Shape, Slice};

use crate::attention::AttentionOps;

/// The heads `[B, H, N, D]` of one part of `[B, N, parts · H · D]`.
fn heads_of<B: AttentionOps>(
    packed: FloatTensor<B>,
    part: usize,
    parts: usize,
    heads: usize,
) -> FloatTensor<B> {
    let shape = packed.shape();
    let (b, n, c) = (shape[0], shape[1], shape[2] / parts);
    let slices = [0..b, 0..n, part * c..(part + 1) * c].map(Slice::from);
    let part = B::float_slice(packed, &slices);
    B::float_swap_dims(
        B::float_reshape(part, Shape::from([b, n, heads, c / heads])),
        1,
        2,
    )
}

/// `[B, N, H · D]` from `[B, H, N, D]`.
fn merge<B: AttentionOps>(heads: FloatTensor<B>) -> FloatTensor<B> {
    let shape = heads.shape();
    let (b, h, n, d) = (shape[0], shape[1], shape[2], shape[3]);
    B::float_reshape(B::float_swap_dims(heads, 1, 2), Shape::from([b, n, h * d]))
}

/// Output `[B, N, H · D]`, by the backend's fastest attention.
pub(super) fn output<B: AttentionOps>(
    qkv: FloatTensor<B>,
    heads: usize,
    scale: f64,
) -> FloatTensor<B> {
    let [q, k, v] = [0, 1, 2].map(|part| heads_of::<B>(qkv.clone(), part, 3, heads));
    merge::<B>(B::causal_attention(q, k, v, scale))
}

/// Output `[B, N, H · D]` and log-sum-exp of the scores `[B, H, N]`.
pub(super) fn forward<B: AttentionOps>(
    qkv: FloatTensor<B>,
    heads: usize,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [q, k, v] = [0, 1, 2].map(|part| heads_of::<B>(qkv.clone(), part, 3, heads));
    let (out, lse) = B::causal_attention_forward(q, k, v, scale);
    (merge::<B>(out), lse)
}

/// Gradient of qkv from the inputs and outputs of [`forward`].
pub(super) fn backward<B: AttentionOps>(
    qkv: FloatTensor<B>,
    out: FloatTensor<B>,
    lse: FloatTensor<B>,
    grad: FloatTensor<B>,
    heads: usize,
    scale: f64,
) -> FloatTensor<B> {
    let [q, k, v] = [0, 1, 2].map(|part| heads_of::<B>(qkv.clone(), part, 3, heads));
    let [out, grad] = [out, grad].map(|x| heads_of::<B>(x, 0, 1, heads));
    let (dq, dk, dv) = B::causal_attention_backward(q, k, v, out, lse, grad, scale);
    B::float_cat([dq, dk, dv].map(|x| merge::<B>(x)).to_vec(), 2)
}
