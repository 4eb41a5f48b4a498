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

// Composed of operations whose gradients are known.
impl<B: MixedMatmulOps, C: CheckpointStrategy> MixedMatmulOps for Autodiff<B, C> {}

/// `x · weight` in the type of `x`, whatever that of `weight`.
///
/// `x` is `[N, K]`, `weight` is `[K, M]`, or the transposed view of `[M, K]`, and the output is
/// `[N, M]`. On the Flex backend without autodiff, where `x` is f32 and `weight` f16 or bf16, the
/// weight is read as it lies in memory and no copy of it is made: up to a few rows by vectors on the
/// way from memory, more by panels that fit into a core's cache. So are weights in f32, up to the number
/// of rows from which on Burn's own product is as quick; beyond it, and on other devices, that is what
/// multiplies one type, but for GPUs, where it is a kernel that is chosen without trials. Sums are of
/// f32, in an order that does not depend on the number of threads.
///
/// # Panics
///
/// Panics if a row of `x` is not as long as `weight` is high.
pub fn mixed_matmul(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    check_shapes(&x, &weight);
    Tensor::from_dispatch(Dispatch::mixed_matmul(
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

/// [`mixed_matmul`] composed of Burn's operations: the definition that the fused form is tested
/// against.
///
/// # Panics
///
/// Panics if a row of `x` is not as long as `weight` is high.
pub fn mixed_matmul_plain(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    check_shapes(&x, &weight);
    let weight = weight.cast(x.dtype());
    x.matmul(weight)
}

/// Whether [`mixed_matmul`] takes weights in half precision on `device` as they are. Elsewhere it
/// makes a copy of them in every call, so that a model is better computed in one type.
pub fn fuses_mixed_matmul(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => true,
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => false,
    }
}

/// Whether `device` is one that CubeCL has kernels for, a GPU by rule: it is quick with many rows at
/// once, and slow to be told of each operation.
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
