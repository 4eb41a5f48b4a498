//! The vocabulary: about 2,000 word types in pools.

mod facts;
mod filler;
mod people;

pub(crate) use facts::*;
pub(crate) use filler::*;
pub(crate) use people::*;

use std::sync::LazyLock;

/// A pool of words, split from one literal on first use.
pub(crate) type Words = LazyLock<Vec<&'static str>>;

/// Declares pools of words from whitespace-separated literals.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$meta])*
            pub(crate) static $name: crate::storybook::words::Words =
                crate::storybook::words::Words::new(|| $text.split_whitespace().collect());
        )*
    };
}
pub(crate) use words;
