//! The tests of this crate in one binary, because every test binary links Burn.

mod causality;
mod common;
mod compression;
mod extremes;
mod gradients;
mod grammar;
mod limits;
mod precision;
mod properties;
mod published;
mod reference;
mod streaming;
mod summaries;
mod weights;
