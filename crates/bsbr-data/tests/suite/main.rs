//! The tests of this crate in one binary, because every test binary links a tokenizer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod datasets;
mod golden;
mod hostile;
#[path = "../common/parquet.rs"]
mod parquet_file;
mod pieces;
mod storybook;
mod stream;
mod tokenizer;
mod tokenizer_folder;
mod windows;
