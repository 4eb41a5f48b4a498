//! Layer normalisation over the last axis.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod grad;
mod portable;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::half::single_plain;

/// Layer normalisation of a backend. Call it through [`layer_norm`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait LayerNormOps: Backend {
    /// Normalised x of shape [.., C], with gamma and beta of shape `[C]`.
    fn layer_norm_fused(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        portable::forward::<Self>(x, gamma, beta, epsilon)
    }

    /// Gradients of x, gamma and beta from that of the output.
    fn layer_norm_fused_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        portable::backward::<Self>(x, gamma, grad, epsilon)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl LayerNormOps for burn::backend::NdArray {}
#[cfg(feature = "remote")]
impl LayerNormOps for burn::backend::Remote {}

/// `(x - mean) / √(variance + epsilon) · gamma + beta`, with the mean and the (biased) variance
/// over the last axis. If the variance exceeds `f32`, the row is NaN: otherwise only `beta` would
/// remain, which looks like a valid row.
///
/// `x` is [.., C], `gamma` and `beta` are `[C]`, the output is [.., C]. On the
/// Flex backend with `f32` elements, each direction is one pass (the forward
/// one is Burn's); the gradients of `gamma` and `beta` are summed in an order
/// that does not depend on the number of threads. On GPUs the forward direction is one
/// pass, in `f32` whatever the elements.
///
/// # Panics
///
/// Panics if the length of `gamma` or `beta` is not that of the last axis.
pub fn layer_norm<const R: usize>(
    x: Tensor<R>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<R> {
    check_shapes(&x, &gamma, &beta);
    Tensor::from_dispatch(Dispatch::layer_norm_fused(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    ))
}

/// [`layer_norm`] composed of Burn's operations: the definition with which tests
/// compare the fused form.
///
/// # Panics
///
/// Panics if the length of `gamma` or `beta` is not that of the last axis.
pub fn layer_norm_plain<const R: usize>(
    x: Tensor<R>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<R> {
    check_shapes(&x, &gamma, &beta);
    let dtype = x.dtype();
    // In f16 the square of an outlier is infinite.
    let x = single_plain(x);
    let [gamma, beta] = [gamma, beta].map(single_plain);
    let centred = x.clone() - x.mean_dim(R - 1);
    let variance = (centred.clone() * centred.clone()).mean_dim(R - 1);
    // 0, or NaN if the variance is infinite.
    let poison = variance.clone() * 0.0;
    let normal = centred / (variance + epsilon).sqrt();
    let out: Tensor<R> = normal * gamma.unsqueeze() + beta.unsqueeze() + poison;
    out.cast(dtype)
}

fn check_shapes<const R: usize>(x: &Tensor<R>, gamma: &Tensor<1>, beta: &Tensor<1>) {
    assert!(
        x.dims().last() == Some(&gamma.dims()[0]) && gamma.dims() == beta.dims(),
        "layer_norm: x {:?}, gamma {:?} and beta {:?} do not match",
        x.dims(),
        gamma.dims(),
        beta.dims()
    );
}
