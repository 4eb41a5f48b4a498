//! The steps after a matrix product in a linear layer: its bias, and optionally GELU.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor};

use crate::gelu::{GeluOps, gelu_new_plain};

/// Biases of a backend. Call them through [`add_bias`] and [`add_bias_gelu`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait BiasOps: GeluOps {
    /// x `[N, C]` plus bias `[C]` in every row.
    fn add_bias(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let columns = bias.shape()[0];
        Self::float_add(x, Self::float_reshape(bias, Shape::from([1, columns])))
    }

    /// GELU of x `[N, C]` plus bias `[C]` in every row.
    fn add_bias_gelu(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu_new(<Self as BiasOps>::add_bias(x, bias))
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl BiasOps for burn::backend::NdArray {}
#[cfg(feature = "remote")]
impl BiasOps for burn::backend::Remote {}

// Composed of operations with known gradients.
impl<B: BiasOps, C: CheckpointStrategy> BiasOps for Autodiff<B, C> {}

/// `x + bias`, with `bias` in every row.
///
/// `x` is `[N, C]`, `bias` is `[C]`, the output is `[N, C]`. On the Flex backend with `f32`
/// elements and without autodiff it is one pass on all threads, in place if `x` is not shared.
///
/// # Panics
///
/// Panics if the length of `bias` is not that of a row.
pub fn add_bias(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    check_shapes(&x, &bias);
    Tensor::from_dispatch(Dispatch::add_bias(x.into_dispatch(), bias.into_dispatch()))
}

/// [`add_bias`] composed of Burn's operations: the definition with which tests compare the fused
/// form.
///
/// # Panics
///
/// Panics if the length of `bias` is not that of a row.
pub fn add_bias_plain(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    check_shapes(&x, &bias);
    x + bias.unsqueeze()
}

/// [`gelu_new`](crate::gelu_new) of [`add_bias`], in one pass instead of two.
///
/// # Panics
///
/// Panics if the length of `bias` is not that of a row.
pub fn add_bias_gelu(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    check_shapes(&x, &bias);
    Tensor::from_dispatch(Dispatch::add_bias_gelu(
        x.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// [`add_bias_gelu`] composed of Burn's operations: the definition with which tests compare the
/// fused form.
///
/// # Panics
///
/// Panics if the length of `bias` is not that of a row.
pub fn add_bias_gelu_plain(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    gelu_new_plain(add_bias_plain(x, bias))
}

fn check_shapes(x: &Tensor<2>, bias: &Tensor<1>) {
    assert!(
        x.dims()[1] == bias.dims()[0],
        "add_bias: x {:?} and bias {:?} do not match",
        x.dims(),
        bias.dims()
    );
}
