//! The settings that a perplexity must be reported with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::MetricError;

/// The divisor of the summed negative log-likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normaliser {
    /// By tokens: `exp(NLL / tokens)`.
    Token,
    /// By words separated by white space: `exp(NLL / words)`.
    Word,
    /// By UTF-8 bytes, in bits: `NLL / (bytes · ln 2)`.
    Byte,
}

/// How a perplexity was measured: tokenizer, window, stride and normaliser.
///
/// A text is read in windows of `window` tokens whose starts are `stride`
/// tokens apart. Each token is scored once, in the first window that contains
/// it, so after the first window every token is predicted from at least
/// `window − stride` tokens. A stride equal to the window gives disjoint
/// windows, the cheapest and most pessimistic choice.
///
/// Its `Display` is one sentence for a table's caption.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct PerplexityConvention {
    tokenizer: String,
    window: usize,
    stride: usize,
    normaliser: Normaliser,
}

impl PerplexityConvention {
    /// Windows of `window` tokens, `stride` apart.
    ///
    /// # Errors
    /// [`MetricError::Stride`] unless `1 <= stride <= window`.
    pub fn new(
        tokenizer: impl Into<String>,
        window: usize,
        stride: usize,
        normaliser: Normaliser,
    ) -> Result<Self, MetricError> {
        if stride == 0 || stride > window {
            return Err(MetricError::Stride { stride, window });
        }
        Ok(Self {
            tokenizer: tokenizer.into(),
            window,
            stride,
            normaliser,
        })
    }

    /// Name of the tokenizer.
    pub fn tokenizer(&self) -> &str {
        &self.tokenizer
    }

    /// Tokens in a window.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Tokens between the starts of consecutive windows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The divisor of the sum.
    pub fn normaliser(&self) -> Normaliser {
        self.normaliser
    }
}

impl fmt::Display for PerplexityConvention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tokenizer,
            window,
            stride,
            normaliser,
        } = self;
        let quantity = match normaliser {
            Normaliser::Token => "perplexity per token",
            Normaliser::Word => "perplexity per word",
            Normaliser::Byte => "bits per byte",
        };
        write!(
            f,
            "{quantity}, {tokenizer} tokenizer, windows of {window} tokens, stride {stride} (each \
             token scored once, after at least {} tokens of its window except in the first)",
            window - stride
        )
    }
}

/// The fields as stored in a file.
#[derive(Deserialize)]
struct Unchecked {
    tokenizer: String,
    window: usize,
    stride: usize,
    normaliser: Normaliser,
}

impl TryFrom<Unchecked> for PerplexityConvention {
    type Error = MetricError;

    fn try_from(fields: Unchecked) -> Result<Self, MetricError> {
        Self::new(
            fields.tokenizer,
            fields.window,
            fields.stride,
            fields.normaliser,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Normaliser, PerplexityConvention};
    use crate::MetricError;

    #[test]
    fn says_everything_in_one_sentence() {
        let convention = PerplexityConvention::new("gpt2", 1024, 512, Normaliser::Token).unwrap();
        assert_eq!(
            convention.to_string(),
            "perplexity per token, gpt2 tokenizer, windows of 1024 tokens, stride 512 (each \
             token scored once, after at least 512 tokens of its window except in the first)"
        );
    }

    #[test]
    fn refuses_to_skip_tokens() {
        for stride in [0, 9] {
            assert_eq!(
                PerplexityConvention::new("gpt2", 8, stride, Normaliser::Byte),
                Err(MetricError::Stride { stride, window: 8 })
            );
        }
    }

    #[test]
    fn is_checked_when_read_from_a_file() {
        let convention = PerplexityConvention::new("gpt2", 8, 4, Normaliser::Word).unwrap();
        let json = serde_json::to_string(&convention).unwrap();
        assert_eq!(
            serde_json::from_str::<PerplexityConvention>(&json).unwrap(),
            convention
        );
        let broken = json.replace("\"stride\":4", "\"stride\":40");
        assert!(serde_json::from_str::<PerplexityConvention>(&broken).is_err());
    }
}
