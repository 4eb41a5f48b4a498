//! Errors during generation.

use crate::error::InputError;

/// A failed generation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerationError {
    /// A setting out of its bounds.
    #[error("generation: `{setting}` is {found}, expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// A prompt that the model cannot take.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Too few positions for the request.
    #[error(
        "row {row}: {prompt} prompt tokens and {max_new_tokens} new ones need {needed} positions, \
         but the model has {n_positions}; shorten the prompt, lower `max_new_tokens`, or choose a \
         position extension"
    )]
    TooLong {
        /// The row.
        row: usize,
        /// Tokens of its prompt.
        prompt: usize,
        /// New tokens requested.
        max_new_tokens: usize,
        /// Positions for both; the last new token needs none.
        needed: usize,
        /// Positions of the model, or of its extension.
        n_positions: usize,
    },
    /// Logits that give no choice.
    #[error(
        "new token {step} of row {row}: the logits are {found}, expected numbers, at least one of \
         them finite; the checkpoint's weights may be damaged or its dtype too narrow"
    )]
    NotFinite {
        /// The row.
        row: usize,
        /// New tokens before this one.
        step: usize,
        /// Description of the logits.
        found: &'static str,
    },
    /// The device failed to return the logits.
    #[error("the logits could not be read from the device: {message}")]
    Device {
        /// The device's message.
        message: String,
    },
}
