//! The tests of this crate in one binary, because every test binary links Burn.

mod attention;
mod bf16_matmul;
mod bias;
mod block_attention;
mod common;
mod cross_entropy;
mod gelu;
mod half;
mod layer_norm;
mod mixed_matmul;
mod packed_attention;
#[cfg(feature = "flex")]
mod packed_linear;
