//! Cross entropy of logits, weighted by row.

#[cfg(feature = "flex")]
mod flex;
mod grad;
mod portable;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor, activation};
pub(crate) use portable::without_weightless;

/// Cross entropy of a backend. Call it through [`cross_entropy`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait CrossEntropyOps: Backend {
    /// Weighted sum `[1]` of the losses of logits `[R, V]`, from targets `[R]` and weights `[R]`.
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::cross_entropy_forward(logits, targets, weights).0
    }

    /// Weighted sum `[1]` of the losses, and log-sum-exp `[R]` of every row of logits.
    fn cross_entropy_forward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::forward::<Self>(logits, targets, weights)
    }

    /// Gradient `[R, V]` of the logits from the inputs and outputs of the forward pass and the
    /// gradient `[1]` of the loss.
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        portable::backward::<Self>(logits, targets, weights, lse, grad)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl CrossEntropyOps for burn::backend::NdArray {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl CrossEntropyOps for burn::backend::Cube {}
#[cfg(feature = "remote")]
impl CrossEntropyOps for burn::backend::Remote {}

/// Sum over the rows of `weight · (log Σ exp(logits) - logits[target])`, as a tensor `[1]`.
///
/// `logits` is `[R, V]`, `targets` (classes below V) and `weights` are `[R]`. Rows with weight
/// zero are left out. The weights are constants without gradient. On the Flex backend with `f32`
/// elements, the forward pass keeps one number per row, and the backward pass writes the gradient
/// of the logits in one pass. Elsewhere, plain operations compute the same.
///
/// # Panics
///
/// Panics if the shapes do not match, and on Flex if a target is not below V.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, weights: Tensor<1>) -> Tensor<1> {
    check_shapes(logits.dims()[0], &targets, &weights);
    Tensor::from_dispatch(Dispatch::cross_entropy(
        logits.into_dispatch(),
        targets.into_dispatch(),
        weights.into_dispatch(),
    ))
}

/// [`cross_entropy`] composed of Burn's operations: the definition with which tests compare the
/// fused form.
///
/// # Panics
///
/// Panics if the shapes do not match.
pub fn cross_entropy_plain(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    check_shapes(logits.dims()[0], &targets, &weights);
    let logits = without_weightless_plain(logits, &weights);
    let log_probs = activation::log_softmax(logits, 1);
    let losses = log_probs
        .gather(1, targets.unsqueeze_dim(1))
        .neg()
        .squeeze_dim::<1>(1);
    (losses * weights.detach()).sum()
}

/// [`without_weightless`] composed of Burn's operations, for the plain forms.
pub(crate) fn without_weightless_plain(rows: Tensor<2>, weights: &Tensor<1>) -> Tensor<2> {
    let weightless = weights.clone().equal_elem(0.0).unsqueeze_dim::<2>(1);
    rows.mask_fill(weightless, 0.0)
}

pub(crate) fn check_shapes(rows: usize, targets: &Tensor<1, Int>, weights: &Tensor<1>) {
    assert!(
        targets.dims() == [rows] && weights.dims() == [rows],
        "cross_entropy: {rows} rows, targets {:?} and weights {:?} do not match",
        targets.dims(),
        weights.dims()
    );
}
