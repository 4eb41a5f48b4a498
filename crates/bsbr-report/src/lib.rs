#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod arms;
pub mod bench;
pub mod card;
pub mod compare;
pub mod corpus;
pub mod datasets;
mod decoding;
pub mod engines;
pub mod error;
mod estimate;
pub mod evaluate;
pub mod experiment;
pub mod experiments;
pub mod forecast;
mod growth;
pub mod hash;
pub mod host;
pub mod judge;
pub mod lab;
pub mod overview;
mod paired;
pub mod present;
mod quantity;
pub mod rarity;
pub mod record;
pub mod render;
pub mod reported;
pub mod reproduce;
mod rounds;
pub mod runner;
pub mod section;
pub mod spec;
pub mod store;
mod style;
pub mod validation;
pub mod verdict;

/// Burn, in the version of this crate's tensors and devices.
pub use burn;

pub use error::ReportError;
