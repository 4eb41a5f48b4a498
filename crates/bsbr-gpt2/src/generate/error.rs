//! What can go wrong while a text is continued.

use crate::error::InputError;

/// A continuation that could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerationError {
    /// A setting out of its bounds.
    #[error("generation: `{setting}` is {found}, expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// The prompt is none that the model can take.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Not enough positions for what was asked.
    #[error(
        "row {row}: {prompt} tokens of prompt and {max_new_tokens} new ones need \
         {needed} positions, but the model has {n_positions}; shorten the prompt, lower \
         `max_new_tokens`, or choose a position extension"
    )]
    TooLong {
        /// The row.
        row: usize,
        /// Tokens of its prompt.
        prompt: usize,
        /// New tokens asked for.
        max_new_tokens: usize,
        /// Positions that both need; the last new token needs none.
        needed: usize,
        /// Positions of the model, or of its extension.
        n_positions: usize,
    },
    /// Logits among which nothing can be chosen.
    #[error(
        "new token {step} of row {row}: the logits are {found}, expected numbers, one of them \
         finite; the checkpoint's weights may be damaged or its dtype too narrow"
    )]
    NotFinite {
        /// The row.
        row: usize,
        /// New tokens before this one.
        step: usize,
        /// What the logits are instead.
        found: &'static str,
    },
    /// The device did not give the logits back.
    #[error("the logits could not be read from the device: {message}")]
    Device {
        /// What it says.
        message: String,
    },
}
