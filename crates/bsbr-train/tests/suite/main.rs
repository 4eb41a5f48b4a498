//! The tests of this crate in one binary, for each links Burn.

mod finetuning;
mod gradients;
mod init;
mod precision;
mod pretraining;
mod recompute;
