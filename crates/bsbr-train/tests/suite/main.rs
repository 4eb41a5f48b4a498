//! The tests of this crate in one binary, because every test binary links Burn.
#![allow(clippy::unwrap_used, clippy::panic)]

mod finetuning;
mod gradients;
mod init;
#[cfg(feature = "flex")]
mod packed_weights;
mod precision;
mod pretraining;
mod questions;
mod recompute;
mod skipping;
