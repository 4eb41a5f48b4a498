//! The tanh form of GELU, which GPT-2 calls `gelu_new`.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod grad;
mod portable;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use cube::activated as activated_cube;
#[cfg(feature = "flex")]
pub(crate) use flex::activated;

use crate::half::single_plain;

/// √(2/π).
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
/// Weight of the cube.
const CUBIC: f64 = 0.044_715;

/// GELU of a backend. Call it through [`gelu_new`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait GeluOps: Backend {
    /// GELU of every element.
    fn gelu_new(x: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::forward::<Self>(x)
    }

    /// Gradient of the input `x` from that of the output, of the same shape.
    fn gelu_new_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::backward::<Self>(x, grad)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl GeluOps for burn::backend::NdArray {}
#[cfg(feature = "remote")]
impl GeluOps for burn::backend::Remote {}

/// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))` of every element, for any shape.
///
/// On the Flex backend with `f32` elements, each direction is one pass; on GPUs the forward one is,
/// in `f32` whatever the elements.
pub fn gelu_new<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::gelu_new(x.into_dispatch()))
}

/// [`gelu_new`] composed of Burn's operations: the definition with which tests compare the fused
/// form.
pub fn gelu_new_plain<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    let dtype = x.dtype();
    // Squares and cubes, and with them gradients, would overflow in f16.
    let x = single_plain(x);
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube.mul_scalar(CUBIC)).mul_scalar(SQRT_2_OVER_PI);
    (x * (inner.tanh() + 1.0)).mul_scalar(0.5).cast(dtype)
}
