#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod agreement;
pub mod density;
pub mod divergence;
pub mod error;
pub mod perplexity;
pub mod rouge;
pub mod similarity;
pub mod stats;

mod check;
mod logits;
mod number;
mod rows;

pub use error::MetricError;
pub use number::Real;
