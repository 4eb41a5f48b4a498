//! A long piece of text whose perplexity is measured.

use bsbr_data::tokenizer::TextTokenizer;

/// How long a text is in tokens, and its original in words and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Tokens.
    pub tokens: usize,
    /// Words of the original, between white space.
    pub words: u64,
    /// Bytes of the original in UTF-8.
    pub bytes: u64,
}

impl Extent {
    /// This and one document more, after which there are `tokens` tokens.
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

/// Words between white space, and bytes.
pub(super) fn size(text: &str) -> (u64, u64) {
    (text.split_whitespace().count() as u64, text.len() as u64)
}

/// Tokens whose perplexity is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The end-of-text token, where the tokenizer has one, and the tokens.
    pub ids: Vec<u32>,
    /// What is divided by: the tokens that are predicted, and the words and bytes of the original.
    pub extent: Extent,
}

impl Passage {
    /// A passage of these tokens. Without an end-of-text token nothing predicts the first.
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
