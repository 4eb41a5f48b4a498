//! Linear layers whose weights are packed once, for products in single precision, in half precision,
//! in 8 bits or in 4 bits.
//!
//! The time of a few rows depends on memory: their product reads the weights once, in the order of
//! their layout. The time of many rows depends on the processor's arithmetic, which multiplies two
//! numbers of 16 bits, or four of 8 bits, for one of 32. So all of them share one layout (`panels`),
//! and one loop (`products`) with one innermost instruction (`tile`). Weights in 4 bits become bytes in
//! registers (`nibbles`), which halves the bytes of a few rows. Many rows take longer than in 8 bits with
//! AVX-512, and less time with AVX2 (`avx2`), where sums of a group of inputs fit into 16 bits.
//!
//! No crate has all of these. `gemm`, which computes other products here, and `private-gemm-x86`
//! support only floats of 32 and 64 bits. `rten-gemm` also supports bytes through VNNI, but not
//! bf16, and its sums of bytes would need a second pass for scaling. On a processor with AVX-512
//! this loop was as fast as `gemm` and `rten-gemm` with many rows, and faster with few. AMX tiles
//! are not supported; they would be another engine in `tile`.

#[cfg(not(feature = "flex"))]
mod absent;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod avx2;
#[cfg(feature = "flex")]
mod bytes;
#[cfg(feature = "flex")]
mod flex;
mod int8;
#[cfg(feature = "flex")]
mod layer;
#[cfg(feature = "flex")]
mod nibbles;
#[cfg(feature = "flex")]
mod pack;
#[cfg(feature = "flex")]
mod panels;
mod portable;
#[cfg(feature = "flex")]
mod products;
#[cfg(feature = "flex")]
mod rows;
#[cfg(feature = "flex")]
mod tile;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

#[cfg(not(feature = "flex"))]
pub use absent::PackedLinear;
pub use int8::Int8Weight;
#[cfg(feature = "flex")]
pub use layer::PackedLinear;
pub use portable::packed_linear_plain;
#[cfg(feature = "flex")]
pub(crate) use rows::{round_row_to_bf16, rounded_to_bf16};

/// The types of the multiplied numbers. Sums are in f32, or exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductType {
    /// Numbers in single precision.
    F32,
    /// Weights and inputs rounded to bf16.
    Bf16,
    /// Weights rounded to 255 levels per output, inputs to 256 per row. Products and sums are
    /// exact.
    Int8,
    /// Weights rounded to 16 levels per output and group of 32 inputs, inputs to 255 per row and
    /// group. Products and sums of a group are exact.
    Int4,
}

impl ProductType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Int4];

    /// Its name in commands and records: `f32`, `bf16`, `int8` or `int4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// Whether any processor has such products; others need instructions.
    pub fn is_portable(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }
}

/// The memory layout of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[in, out]`, as in Hugging Face's `Conv1D`.
    InOut,
    /// `[out, in]`, as in PyTorch's `Linear`, or a table of embeddings.
    OutIn,
}

/// The operation after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedActivation {
    /// None.
    Identity,
    /// [`gelu_new`](crate::gelu_new)
    GeluNew,
}

/// Packed layers of a backend. Call them through [`packed_linear`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait PackedLinearOps: Backend {
    /// x `[N, in]` through a layer and its activation. `[N, out]`
    fn packed_linear(
        x: FloatTensor<Self>,
        layer: PackedLinear,
        activation: PackedActivation,
    ) -> FloatTensor<Self> {
        portable::on_host::<Self>(x, &layer, activation)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl PackedLinearOps for burn::backend::NdArray {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl PackedLinearOps for burn::backend::Cube {}
#[cfg(feature = "remote")]
impl PackedLinearOps for burn::backend::Remote {}

// `packed_linear` refuses autodiff devices: there are no gradients.
impl<B: PackedLinearOps, C: CheckpointStrategy> PackedLinearOps for Autodiff<B, C> {}

/// `activation(x · weight + bias)` of a packed layer.
///
/// `x` is `[N, in]`, the output `[N, out]` in f32. The result of a row does not depend on the other
/// rows or on the number of threads, bit for bit.
///
/// # Panics
///
/// Panics if the length of a row of `x` is not that of the layer's input, or if `x` is on an
/// autodiff device.
#[cfg_attr(
    not(feature = "flex"),
    allow(unreachable_code, unused_variables) // there is no layer
)]
pub fn packed_linear(
    x: Tensor<2>,
    layer: &PackedLinear,
    activation: PackedActivation,
) -> Tensor<2> {
    assert!(
        x.dims()[1] == layer.inputs(),
        "packed_linear: x {:?} and a layer of {} inputs do not match",
        x.dims(),
        layer.inputs()
    );
    assert!(
        !x.is_autodiff(),
        "packed_linear: packed weights have no gradients"
    );
    Tensor::from_dispatch(Dispatch::packed_linear(
        x.into_dispatch(),
        layer.clone(),
        activation,
    ))
}
