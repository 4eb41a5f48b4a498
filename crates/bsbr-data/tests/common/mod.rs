//! The golden tokenizer.
#![allow(dead_code, clippy::expect_used)] // each test file uses its own part

use std::path::PathBuf;

pub fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

pub fn read_text(path: &str) -> String {
    std::fs::read_to_string(fixture(path)).expect(path)
}
