//! The product of rows and a weight, in single or in half precision.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod few;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod many;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{Device, Tensor};

/// Products of mixed types of a backend. Call them through [`mixed_matmul`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait MixedMatmulOps: Backend {
    /// x `[N, K]` times weight `[K, M]` of any type, in the type of x.
    fn mixed_matmul(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = match weight.dtype() == x.dtype() {
            true => weight,
            false => Self::float_cast(weight, x.dtype().into()),
        };
        Self::float_matmul(x, weight)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl MixedMatmulOps for burn::backend::NdArray {}
#[cfg(feature = "remote")]
impl MixedMatmulOps for burn::backend::Remote {}

// Composed of operations with known gradients.
impl<B: MixedMatmulOps, C: CheckpointStrategy> MixedMatmulOps for Autodiff<B, C> {}

/// `x · weight` in the type of `x`, whatever the type of `weight`.
///
/// `x` is `[N, K]`, `weight` is `[K, M]`, or the transposed view of `[M, K]`, and the output is
/// `[N, M]`. On the Flex backend without autodiff, if `x` is f32 and `weight` f16 or bf16, the
/// weight is read in place without a copy: for a few rows by vectors directly from memory, for more
/// by panels that fit into a core's cache. Weights in f32 are read in the same way, up to the
/// number of rows from which on Burn's own product is as fast. Burn multiplies other products of
/// one type, except on GPUs, where a fixed kernel does. Sums are in f32, in an order that does not
/// depend on the number of threads.
///
/// # Panics
///
/// Panics if the length of a row of `x` is not the number of rows of `weight`.
pub fn mixed_matmul(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    check_shapes(&x, &weight);
    Tensor::from_dispatch(Dispatch::mixed_matmul(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

/// [`mixed_matmul`] composed of Burn's operations: the definition with which tests compare the
/// fused form.
///
/// # Panics
///
/// Panics if the length of a row of `x` is not the number of rows of `weight`.
pub fn mixed_matmul_plain(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    check_shapes(&x, &weight);
    let weight = weight.cast(x.dtype());
    x.matmul(weight)
}

/// Whether [`mixed_matmul`] reads weights in half precision directly on `device`. Elsewhere it
/// copies them in every call, so a model should compute in one type.
pub fn fuses_mixed_matmul(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => true,
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => false,
    }
}

/// Whether `device` has CubeCL kernels, usually a GPU: it is fast with many rows at once, but has a
/// high latency per operation.
pub fn is_gpu(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        burn::backend::DispatchDevice::Cube(_) => true,
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => false,
    }
}

fn check_shapes(x: &Tensor<2>, weight: &Tensor<2>) {
    assert!(
        x.dims()[1] == weight.dims()[0],
        "mixed_matmul: x {:?} and weight {:?} do not match",
        x.dims(),
        weight.dims()
    );
}
