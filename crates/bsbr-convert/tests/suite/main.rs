//! The tests of this crate in one binary, because every test binary links Burn.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should fail; clippy knows test functions, not their helpers"
)]

mod allocations;
mod cache_file;
mod cards;
mod converting;
mod damaged_pickle;
mod folders;
mod gather;
mod hybrid;
mod in_place;
mod int8;
mod keys;
mod levels;
mod malformed_pickle;
mod malformed_safetensors;
mod models;
mod pickles;
mod pieces;
mod plans;
mod reading;
mod support;
mod transformers;
