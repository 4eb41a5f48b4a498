//! A long passage for perplexity.

use bsbr_data::tokenizer::TextTokenizer;

/// The length of a text in tokens, and of its original in words and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Tokens.
    pub tokens: usize,
    /// Words of the original, separated by white space.
    pub words: u64,
    /// Bytes of the original in UTF-8.
    pub bytes: u64,
}

impl Extent {
    /// Adds one document, after which there are `tokens` tokens.
    #[must_use]
    pub(super) fn and(self, tokens: usize, original: &str) -> Self {
        let (words, bytes) = size(original);
        Self {
            tokens,
            words: self.words + words,
            bytes: self.bytes + bytes,
        }
    }
}

/// Words separated by white space, and bytes.
pub(super) fn size(text: &str) -> (u64, u64) {
    (text.split_whitespace().count() as u64, text.len() as u64)
}

/// Tokens for perplexity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The end-of-text token, if the tokenizer has one, and the tokens.
    pub ids: Vec<u32>,
    /// The divisors: the number of predicted tokens, and the words and bytes of the original.
    pub extent: Extent,
}

impl Passage {
    /// A passage of these tokens. Without an end-of-text token the first is not predicted.
    pub(super) fn new(tokenizer: &TextTokenizer, ids: &[u32], extent: Extent) -> Self {
        let before = tokenizer.end_of_text_id();
        let ids: Vec<u32> = before.into_iter().chain(ids.iter().copied()).collect();
        Self {
            extent: Extent {
                tokens: ids.len().saturating_sub(1),
                ..extent
            },
            ids,
        }
    }
}
