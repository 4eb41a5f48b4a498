//! Exact causal softmax attention.

#[cfg(feature = "flex")]
mod backward;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod forward;
mod grad;
mod portable;

#[cfg(feature = "flex")]
pub(crate) use backward::{Saved, backward_packed};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Bool, Tensor, activation};
#[cfg(feature = "flex")]
pub(crate) use forward::forward;

/// Causal attention of a backend. Call it through [`causal_attention`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait AttentionOps: Backend {
    /// Output `[B, H, Nq, D]` from q `[B, H, Nq, D]` and k, v `[B, H, Nk, D]`.
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        Self::causal_attention_forward(q, k, v, scale).0
    }

    /// Output `[B, H, Nq, D]` and log-sum-exp of every row of scores `[B, H, Nq]`, which is in
    /// `f32` if the scores were computed in it, whatever the inputs.
    fn causal_attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::forward::<Self>(q, k, v, scale)
    }

    /// Gradients of q, k and v from the inputs and outputs of the forward pass
    /// and the gradient `[B, H, Nq, D]` of the output.
    #[allow(clippy::too_many_arguments)] // a backend extension takes no tuple of tensors
    fn causal_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::backward::<Self>([q, k, v], out, lse, grad, scale)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl AttentionOps for burn::backend::NdArray {}
#[cfg(feature = "remote")]
impl AttentionOps for burn::backend::Remote {}

/// Exact causal attention `softmax(scale · q kᵀ) v`, without all scores in memory at once.
///
/// `q` is `[B, H, Nq, D]`; `k` and `v` are `[B, H, Nk, D]` with Nk ≥ Nq. The
/// queries are those of the last Nq positions: query `i` attends to the keys
/// `0..=Nk - Nq + i`. The output is `[B, H, Nq, D]`.
///
/// On the Flex backend with `f32` elements, both directions are fused: the forward pass keeps
/// the log-sum-exp of every row, and the backward pass recomputes the scores block by block.
/// The result does not depend on the number of threads. Inputs may be views with any strides.
/// The output is laid out as `[B, Nq, H, D]`, so merging the heads needs no copy. On GPUs both
/// directions are kernels if Nq = Nk. Elsewhere, plain operations compute the same.
///
/// # Panics
///
/// Panics if the shapes do not match, or if Nk < Nq.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    check_shapes(&q, &k, &v);
    if q.dims()[2] == 0 {
        // Some backends cannot multiply matrices without rows.
        return q;
    }
    Tensor::from_dispatch(Dispatch::causal_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        scale,
    ))
}

/// [`causal_attention`] composed of Burn's operations, with the `[N, N]` scores in memory: the
/// definition with which tests compare the fused form.
///
/// # Panics
///
/// Panics if the shapes do not match, or if Nk < Nq.
pub fn causal_attention_plain(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    check_shapes(&q, &k, &v);
    let (nq, nk) = (q.dims()[2], k.dims()[2]);
    let offset = (nk - nq) as i64;
    let hidden = Tensor::<2, Bool>::tril_mask([nq, nk], offset, &q.device()).unsqueeze::<4>();
    let scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale);
    activation::softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3).matmul(v)
}

fn check_shapes(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>) {
    let ([qb, qh, nq, qd], [kb, kh, nk, kd]) = (q.dims(), k.dims());
    assert!(
        [qb, qh, qd] == [kb, kh, kd] && k.dims() == v.dims() && nq <= nk,
        "causal_attention: q {:?}, k {:?} and v {:?} do not match",
        q.dims(),
        k.dims(),
        v.dims()
    );
}
