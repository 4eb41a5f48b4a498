//! What can be wrong with a configuration or with an input.

/// A `config.json` that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a value of the wrong type.
    #[error("{message}")]
    Json {
        /// What the parser says.
        message: String,
    },
    /// A key without which no model can be built.
    #[error("`{key}` is missing; add it as `transformers` writes it")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A size that is zero or huge.
    #[error("`{key}` is {found}, expected 1 to {max}")]
    OutOfBounds {
        /// The key.
        key: &'static str,
        /// Its value.
        found: usize,
        /// Largest value accepted.
        max: usize,
    },
    /// A value that this crate does not implement.
    #[error("`{key}` is {found}, expected {expected}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// Two values that cannot both be true.
    #[error("{message}")]
    Contradiction {
        /// Which ones.
        message: String,
    },
    /// An arm whose settings are wrong.
    #[error("`bsbr.layers[{layer}]`: {source}")]
    Arm {
        /// The layer.
        layer: usize,
        /// What is wrong.
        source: bsbr_attention::ConfigError,
    },
    /// A position extension that does not fit the model's table.
    #[error("position extension: `{setting}` is {found}, expected {min} to {max}")]
    Extension {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: usize,
        /// Smallest value accepted.
        min: usize,
        /// Largest value accepted.
        max: usize,
    },
}

/// An input that the model cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No rows, or rows without tokens.
    #[error("the input is empty: give at least one row of at least one token")]
    Empty,
    /// Rows of different lengths.
    #[error(
        "row {row} has {found} tokens but row 0 has {expected}; \
         give rows of one length, or pad them on the left"
    )]
    Ragged {
        /// The row.
        row: usize,
        /// Its length.
        found: usize,
        /// Length of row 0.
        expected: usize,
    },
    /// A token that has no embedding.
    #[error(
        "row {row}, position {position}: token id {id}, expected one below the vocabulary's \
         {vocab_size}; encode the text with the model's own tokenizer"
    )]
    TokenOutOfRange {
        /// The row.
        row: usize,
        /// Position in the row.
        position: usize,
        /// The token.
        id: u32,
        /// V.
        vocab_size: usize,
    },
    /// More tokens than positions.
    #[error(
        "{seq_len} tokens, but the model has {n_positions} positions; \
         shorten the input, or choose a position extension"
    )]
    TooLong {
        /// Tokens of the longest row, those already in the cache included.
        seq_len: usize,
        /// Positions of the model, or of its extension.
        n_positions: usize,
    },
    /// A cache that was filled by another model or batch.
    #[error(
        "the cache holds {found} {what}, expected {expected}; use one cache per batch, \
         made by `new_cache` of the model that reads it"
    )]
    CacheMismatch {
        /// What is counted.
        what: &'static str,
        /// How many the cache holds.
        found: usize,
        /// How many the model or the batch has.
        expected: usize,
    },
    /// A cache that was filled by a model of the same shape with other arms.
    #[error(
        "layer {layer} of the cache holds what {found} keeps, expected {expected}; use one cache \
         per batch, made by `new_cache` of the model that reads it"
    )]
    CacheOfOtherArm {
        /// The layer.
        layer: usize,
        /// The arm that the cache was made for, as `config.json` has it.
        found: String,
        /// The model's arm.
        expected: String,
    },
    /// A cache that holds all of a prompt, so that no token is left to be read.
    #[error(
        "the cache holds {past} tokens, but the prompt has {prompt}; leave at least its last token \
         to be read"
    )]
    NothingUnread {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that the cache holds.
        past: usize,
    },
    /// Padding between tokens.
    #[error(
        "row {row} has {padding} padding tokens after the {past} tokens in the cache, expected \
         none: only a first batch may be padded; continue with rows of one length"
    )]
    PaddedContinuation {
        /// The row.
        row: usize,
        /// Its padding.
        padding: usize,
        /// Tokens that the cache holds of it.
        past: usize,
    },
}

/// Weights that cannot be packed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PackError {
    /// The device or the processor has no such products.
    #[error(
        "a weight {shape:?} on {device} cannot be packed for products in {products:?}: they need the \
         CPU backend flex, and f32 and bf16 a processor with AVX-512 and AVX512-BF16; leave the weights \
         as they are, or take 8 bits"
    )]
    NotPossible {
        /// The type of the products.
        products: bsbr_kernels::ProductType,
        /// The weight's shape.
        shape: [usize; 2],
        /// Where it is.
        device: String,
    },
}
