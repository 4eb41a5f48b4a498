//! Perplexity and bits per byte, from the negative log-likelihood of tokens.

mod convention;
mod total;

pub use convention::{Normaliser, PerplexityConvention};
pub use total::{NllTotal, token_nll};
