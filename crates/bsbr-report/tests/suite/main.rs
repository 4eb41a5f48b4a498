//! The tests of this crate in one binary, because every test binary links Burn.
#![allow(clippy::unwrap_used, clippy::panic)]

mod card;
mod common;
mod definitions;
mod density;
mod end_to_end;
mod evaluate;
mod extension;
mod files;
mod golden;
mod hybrid;
mod judge;
mod lab;
mod layers;
mod levels;
mod maps;
mod methods;
mod overview;
mod page;
#[path = "../../../bsbr-data/tests/common/parquet.rs"]
mod parquet_file;
mod perplexity;
mod quantities;
mod reading_memory;
mod recomputed;
mod recovery;
mod runner;
mod specifications;
mod speed;
mod streaming;
mod sweep;
mod tiny;
mod training_memory;
mod weights;
