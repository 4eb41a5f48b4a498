//! Errors in a configuration or an input.

/// An unusable `config.json`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a value of the wrong type.
    #[error("{message}")]
    Json {
        /// The parser's message.
        message: String,
    },
    /// A missing required key.
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
        /// Largest accepted value.
        max: usize,
    },
    /// A value that this crate does not implement.
    #[error("`{key}` is {found}, expected {expected}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// Two values that contradict each other.
    #[error("{message}")]
    Contradiction {
        /// The values.
        message: String,
    },
    /// An arm with invalid settings.
    #[error("`bsbr.layers[{layer}]`: {source}")]
    Arm {
        /// The layer.
        layer: usize,
        /// The error in the settings.
        source: bsbr_attention::ConfigError,
    },
    /// A position extension that does not fit the model's table.
    #[error("position extension: `{setting}` is {found}, expected {min} to {max}")]
    Extension {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: usize,
        /// Smallest accepted value.
        min: usize,
        /// Largest accepted value.
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
    /// A token without an embedding.
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
    /// A number of positions that differs from the number of tokens.
    #[error("{found} positions for {expected} tokens; give one for each token of the batch")]
    Positions {
        /// Number of positions.
        found: usize,
        /// Tokens of the batch, including padding.
        expected: usize,
    },
    /// More tokens than positions.
    #[error(
        "{seq_len} tokens, but the model has {n_positions} positions; \
         shorten the input, or choose a position extension"
    )]
    TooLong {
        /// Tokens of the longest row, including those in the cache.
        seq_len: usize,
        /// Positions of the model, or of its extension.
        n_positions: usize,
    },
    /// A cache of another model or batch.
    #[error(
        "the cache holds {found} {what}, expected {expected}; use one cache per batch, created by \
         `new_cache` of the model that reads it"
    )]
    CacheMismatch {
        /// The counted items.
        what: &'static str,
        /// Their number in the cache.
        found: usize,
        /// Their number in the model or the batch.
        expected: usize,
    },
    /// A cache of a model of the same shape with other arms.
    #[error(
        "layer {layer} of the cache belongs to {found}, expected {expected}; use one cache per \
         batch, created by `new_cache` of the model that reads it"
    )]
    CacheOfOtherArm {
        /// The layer.
        layer: usize,
        /// The arm of the cache, as in `config.json`.
        found: String,
        /// The model's arm.
        expected: String,
    },
    /// A cache that holds the whole prompt, so that no token remains to be
    /// read.
    #[error(
        "the cache holds {past} tokens, but the prompt has {prompt}; leave at least the prompt's \
         last token unread"
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
        /// Its tokens in the cache.
        past: usize,
    },
}

/// Weights that cannot be packed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PackError {
    /// The device or CPU does not support such products.
    #[error(
        "a weight {shape:?} on {device} cannot be packed for products in {products:?}: these need \
         the CPU backend flex, and f32 and bf16 also need an x86-64 processor with AVX2 and FMA; \
         keep the stored weights, or use 8 or 4 bits"
    )]
    NotPossible {
        /// The type of the products.
        products: bsbr_kernels::ProductType,
        /// The weight's shape.
        shape: [usize; 2],
        /// Its device.
        device: String,
    },
}
