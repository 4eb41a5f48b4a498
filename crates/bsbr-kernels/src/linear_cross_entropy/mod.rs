//! Cross entropy of the logits of a linear head, in chunks of rows.

#[cfg(feature = "flex")]
mod bf16;
#[cfg(feature = "flex")]
mod flex;
mod grad;
#[cfg(feature = "flex")]
mod kernel;
mod portable;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use crate::bf16_matmul::Bf16Weight;
use crate::cross_entropy::{
    CrossEntropyOps, check_shapes as check_rows, cross_entropy_plain, without_weightless_plain,
};

/// Rows whose logits are in memory at one time.
const CHUNK: usize = 256;

/// Cross entropy of a linear head on a backend. Call it through
/// [`linear_cross_entropy`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait LinearCrossEntropyOps: CrossEntropyOps {
    /// Weighted sum `[1]` of the losses of `hidden · headᵀ`, from hidden `[R, C]`,
    /// head `[V, C]`, targets `[R]` and weights `[R]`.
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::loss::<Self>(hidden, head, targets, weights)
    }

    /// Weighted sum `[1]` of the losses, and its gradients with respect to hidden
    /// `[R, C]` and, if `head_grad`, head `[V, C]`; otherwise the latter is
    /// `[0, C]`.
    fn linear_cross_entropy_with_grads(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
        head_grad: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::with_grads::<Self>(hidden, head, targets, weights, head_grad)
    }

    /// [`Self::linear_cross_entropy`] of hidden and head rounded to bf16.
    fn linear_cross_entropy_bf16(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
        _packed: Bf16Weight,
    ) -> FloatTensor<Self> {
        let [hidden, head] = [hidden, head].map(portable::rounded::<Self>);
        Self::linear_cross_entropy(hidden, head, targets, weights)
    }

    /// [`Self::linear_cross_entropy_with_grads`] of hidden and head rounded to bf16. The gradients
    /// of logits may be rounded too.
    fn linear_cross_entropy_bf16_with_grads(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
        head_grad: bool,
        _packed: Bf16Weight,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [hidden, head] = [hidden, head].map(portable::rounded::<Self>);
        Self::linear_cross_entropy_with_grads(hidden, head, targets, weights, head_grad)
    }

    /// A matrix times a factor `[1]`.
    fn scaled_by(x: FloatTensor<Self>, factor: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::scaled_by::<Self>(x, factor)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl LinearCrossEntropyOps for burn::backend::NdArray {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl LinearCrossEntropyOps for burn::backend::Cube {}
#[cfg(feature = "remote")]
impl LinearCrossEntropyOps for burn::backend::Remote {}

/// [`cross_entropy`](crate::cross_entropy) of the logits `hidden · headᵀ`, with at
/// most a chunk of their rows in memory at one time.
///
/// `hidden` is `[R, C]`, `head` is `[V, C]` (the token embedding, if tied),
/// `targets` and `weights` are `[R]`; the loss is a tensor `[1]`. If a gradient is
/// needed, it is computed along with the loss, and the backward pass only scales
/// it. Rows with weight zero cost nothing on the Flex backend.
///
/// # Panics
///
/// Panics if the shapes do not match, and on Flex if a target is not below V.
pub fn linear_cross_entropy(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    check_shapes(&hidden, &head, &targets, &weights);
    Tensor::from_dispatch(Dispatch::linear_cross_entropy(
        hidden.into_dispatch(),
        head.into_dispatch(),
        targets.into_dispatch(),
        weights.into_dispatch(),
    ))
}

/// [`linear_cross_entropy`] with `hidden` and `head` rounded to bf16, and gradients in f32. On Flex,
/// the products of the gradients round the gradients of logits to bf16 too.
///
/// `packed` is the packed form of this head, by [`Bf16Weight::of_table`].
///
/// # Panics
///
/// Panics if the shapes do not match, if `packed` is of a head of another shape, and on Flex if a
/// target is not below V.
pub fn linear_cross_entropy_bf16(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
    packed: &Bf16Weight,
) -> Tensor<1> {
    check_shapes(&hidden, &head, &targets, &weights);
    if let Some([forward, _]) = packed.layers() {
        assert!(
            [forward.outputs(), forward.inputs()] == head.dims(),
            "linear_cross_entropy: head {:?} and a packed one of [{}, {}] do not match",
            head.dims(),
            forward.outputs(),
            forward.inputs()
        );
    }
    Tensor::from_dispatch(Dispatch::linear_cross_entropy_bf16(
        hidden.into_dispatch(),
        head.into_dispatch(),
        targets.into_dispatch(),
        weights.into_dispatch(),
        packed.clone(),
    ))
}

/// [`linear_cross_entropy`] composed of Burn's operations, with all logits in
/// memory: the definition with which tests compare the fused form.
///
/// # Panics
///
/// Panics if the shapes do not match.
pub fn linear_cross_entropy_plain(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    check_shapes(&hidden, &head, &targets, &weights);
    // The gradient of the head also reads these rows.
    let hidden = without_weightless_plain(hidden, &weights);
    cross_entropy_plain(hidden.matmul(head.transpose()), targets, weights)
}

fn check_shapes(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Tensor<1, Int>,
    weights: &Tensor<1>,
) {
    let ([rows, features], [_, head_features]) = (hidden.dims(), head.dims());
    assert!(
        features == head_features,
        "linear_cross_entropy: {features} features do not match a head of {head_features}"
    );
    check_rows(rows, targets, weights);
}
