//! The tests of this crate in one binary, because every test binary links Burn.

mod cache;
mod common;
mod config;
mod defaults;
mod generate;
mod golden;
mod half_weights;
mod hostile;
mod input;
mod overflow;
#[cfg(feature = "flex")]
mod packed;
mod positions;
mod sampling;
