//! Building blocks of the CPU kernels: vector loops for all, and for the fused
//! ones block matrix products, softmax over blocks, and views of the tensors of
//! the Flex backend.

#[cfg(feature = "flex")]
pub(crate) mod block;
#[cfg_attr(not(feature = "flex"), allow(dead_code))] // splits need a few of them
pub(crate) mod math;
#[cfg(feature = "flex")]
pub(crate) mod matrix;
#[cfg(feature = "flex")]
pub(crate) mod number;
#[cfg_attr(not(feature = "flex"), allow(dead_code))] // splits need a few of them
pub(crate) mod simd;
#[cfg(feature = "flex")]
pub(crate) mod tensor;
