//! A long passage for perplexity.

use std::ops::Range;

use bsbr_data::tokenizer::{Detokenizer, TextTokenizer, TokenizerError};

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

/// Words and bytes.
pub(super) type Size = (u64, u64);

/// Words separated by white space, and bytes.
pub(super) fn size(text: &str) -> Size {
    (text.split_whitespace().count() as u64, text.len() as u64)
}

/// Counts words and bytes of a text in pieces. A word counts where it begins.
#[derive(Debug, Default)]
pub(super) struct Counter {
    words: u64,
    bytes: u64,
    in_word: bool,
}

impl Counter {
    pub fn add(&mut self, piece: &str) {
        self.bytes += piece.len() as u64;
        for char in piece.chars() {
            let blank = char.is_whitespace();
            self.words += u64::from(!blank && !self.in_word);
            self.in_word = !blank;
        }
    }

    pub fn size(&self) -> Size {
        (self.words, self.bytes)
    }
}

/// A text among tokens, or as much of it as these have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// Its tokens.
    pub tokens: Range<usize>,
    /// Words and bytes of the original.
    pub size: Size,
}

/// Tokens for perplexity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The end-of-text token, if the tokenizer has one, and the tokens.
    pub ids: Vec<u32>,
    /// The divisors: the number of predicted tokens, and the words and bytes of the original.
    pub extent: Extent,
    /// The texts, with their places in `ids`.
    excerpts: Vec<Excerpt>,
}

impl Passage {
    /// A passage of these tokens, which are those of `excerpts` and of separators. Without an
    /// end-of-text token the first is not predicted.
    pub(super) fn new(tokenizer: &TextTokenizer, ids: &[u32], mut excerpts: Vec<Excerpt>) -> Self {
        let before = tokenizer.end_of_text_id();
        let shift = usize::from(before.is_some());
        for excerpt in &mut excerpts {
            excerpt.tokens = excerpt.tokens.start + shift..excerpt.tokens.end + shift;
        }
        let ids: Vec<u32> = before.into_iter().chain(ids.iter().copied()).collect();
        Self {
            extent: Extent {
                tokens: ids.len().saturating_sub(1),
                words: excerpts.iter().map(|excerpt| excerpt.size.0).sum(),
                bytes: excerpts.iter().map(|excerpt| excerpt.size.1).sum(),
            },
            ids,
            excerpts,
        }
    }

    /// The extent of each piece of `window` predicted tokens; together they are that of the
    /// passage.
    ///
    /// A word belongs to the piece where it begins, and a character to the one where it ends. A
    /// text that is encoded in a different form, such as one with a tokenizer that changes texts,
    /// is divided in the proportions of that form. A first token that is not predicted belongs to
    /// the first piece.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] if tokens cannot be decoded.
    pub fn pieces(
        &self,
        tokenizer: &TextTokenizer,
        window: usize,
    ) -> Result<Vec<Extent>, TokenizerError> {
        let window = window.max(1);
        let starts = (0..self.extent.tokens).step_by(window);
        let mut pieces: Vec<Extent> = starts
            .map(|start| Extent {
                tokens: window.min(self.extent.tokens - start),
                ..Extent::default()
            })
            .collect();
        let Some(last) = pieces.len().checked_sub(1) else {
            return Ok(pieces);
        };
        let piece_of = |at: usize| (at.saturating_sub(1) / window).min(last);
        for excerpt in &self.excerpts {
            let mut before = (0, 0);
            for (piece, size) in self.divided(tokenizer, excerpt, piece_of)? {
                pieces[piece].words += size.0 - before.0;
                pieces[piece].bytes += size.1 - before.1;
                before = size;
            }
        }
        Ok(pieces)
    }

    /// The pieces that have tokens of an excerpt, with the words and bytes of the excerpt up to the end
    /// of each.
    fn divided(
        &self,
        tokenizer: &TextTokenizer,
        excerpt: &Excerpt,
        piece_of: impl Fn(usize) -> usize,
    ) -> Result<Vec<(usize, Size)>, TokenizerError> {
        let tokens = excerpt.tokens.clone();
        let whole = excerpt.size;
        let last = piece_of(tokens.end.saturating_sub(1).max(tokens.start));
        // Most texts are in one piece, and need not be decoded.
        if piece_of(tokens.start) == last {
            return Ok(vec![(last, whole)]);
        }
        let mut detokenizer = Detokenizer::new(tokenizer, &[]);
        let mut read = Counter::default();
        let mut ends: Vec<(usize, Size)> = Vec::new();
        for at in tokens {
            read.add(&detokenizer.push(self.ids[at])?);
            match ends.last_mut() {
                Some((piece, size)) if *piece == piece_of(at) => *size = read.size(),
                _ => ends.push((piece_of(at), read.size())),
            }
        }
        let all = read.size();
        let of = |own: u64, all: u64, whole: u64| match all {
            0 => 0,
            all => own * whole / all,
        };
        for (piece, size) in &mut ends {
            *size = match *piece == last {
                true => whole,
                false => (of(size.0, all.0, whole.0), of(size.1, all.1, whole.1)),
            };
        }
        Ok(ends)
    }
}
