//! Causal attention on the packed output of one projection to q, k and v.

#[cfg(feature = "flex")]
mod flex;
mod grad;
mod portable;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::attention::{AttentionOps, causal_attention_plain};

/// Packed causal attention of a backend. Call it through [`causal_attention_packed`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait PackedAttentionOps: AttentionOps {
    /// Output `[B, N, H · D]` from qkv `[B, N, 3 · H · D]`.
    fn causal_attention_packed(
        qkv: FloatTensor<Self>,
        heads: usize,
        scale: f64,
    ) -> FloatTensor<Self> {
        portable::output::<Self>(qkv, heads, scale)
    }

    /// Output `[B, N, H · D]` and log-sum-exp of every row of scores `[B, H, N]`, in the type of
    /// [`AttentionOps::causal_attention_forward`].
    fn causal_attention_packed_forward(
        qkv: FloatTensor<Self>,
        heads: usize,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::forward::<Self>(qkv, heads, scale)
    }

    /// Gradient of qkv from the input and outputs of the forward pass and the
    /// gradient `[B, N, H · D]` of the output.
    fn causal_attention_packed_backward(
        qkv: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        heads: usize,
        scale: f64,
    ) -> FloatTensor<Self> {
        portable::backward::<Self>(qkv, out, lse, grad, heads, scale)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl PackedAttentionOps for burn::backend::NdArray {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl PackedAttentionOps for burn::backend::Cube {}
#[cfg(feature = "remote")]
impl PackedAttentionOps for burn::backend::Remote {}

/// [`causal_attention`](crate::causal_attention) of the queries, keys and values from one
/// projection, packed as `[B, N, 3 · H · D]` (q, then k, then v, each `[H, D]`). The output is
/// `[B, N, H · D]`.
///
/// It equals splitting the input and merging the heads, but neither direction copies or adds the
/// parts.
///
/// # Panics
///
/// Panics if the last axis is not three times a multiple of `heads`.
pub fn causal_attention_packed(qkv: Tensor<3>, heads: usize, scale: f64) -> Tensor<3> {
    check_shape(&qkv, heads);
    Tensor::from_dispatch(Dispatch::causal_attention_packed(
        qkv.into_dispatch(),
        heads,
        scale,
    ))
}

/// [`causal_attention_packed`] composed of Burn's operations: the definition with which tests
/// compare the fused form.
///
/// # Panics
///
/// Panics if the last axis is not three times a multiple of `heads`.
pub fn causal_attention_packed_plain(qkv: Tensor<3>, heads: usize, scale: f64) -> Tensor<3> {
    check_shape(&qkv, heads);
    let [b, n, c] = qkv.dims();
    let [q, k, v] = [0, 1, 2].map(|part| {
        let part = qkv.clone().narrow(2, part * (c / 3), c / 3);
        part.reshape([b, n, heads, c / 3 / heads]).swap_dims(1, 2)
    });
    causal_attention_plain(q, k, v, scale)
        .swap_dims(1, 2)
        .reshape([b, n, c / 3])
}

fn check_shape(qkv: &Tensor<3>, heads: usize) {
    let [_, _, c] = qkv.dims();
    assert!(
        heads > 0 && c % (3 * heads) == 0,
        "causal_attention_packed: {c} features are not q, k and v of {heads} heads"
    );
}
