//! The tests of this crate in one binary, because every test binary links an HTTP client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod config;
mod download;
mod errors;
mod folder;
mod model;
mod offline;
mod token;
