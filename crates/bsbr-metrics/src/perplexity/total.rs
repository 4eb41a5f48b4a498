//! The sums from which perplexities are computed.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};

use crate::logits::LogSoftmax;
use crate::{MetricError, Real, check};

/// The largest negative value that rounding in `f32` may give a negative
/// log-likelihood.
const ROUNDING_NATS: f64 = 1e-4;

/// Negative log-likelihood of a token under one row of logits, in nats:
/// `−ln softmax(logits)[target]`, in `f64`.
///
/// # Errors
/// A target outside the vocabulary, or logits that are not finite.
pub fn token_nll<T: Real>(logits: &[T], target: usize) -> Result<f64, MetricError> {
    let softmax = LogSoftmax::of(logits)?;
    let logit = logits.get(target).ok_or(MetricError::TargetOutOfRange {
        target,
        vocabulary: logits.len(),
    })?;
    Ok(-softmax.ln_probability((*logit).into()))
}

/// Negative log-likelihood summed over scored tokens, with the size of their
/// text. These raw sums allow totals of parts of a corpus to be
/// [merged](NllTotal::merge), and every normalisation to be computed from one
/// record.
///
/// Words are separated by white space (`str::split_whitespace`), and bytes are
/// those of UTF-8. Both are those of the original text and do not depend on the
/// tokenizer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NllTotal {
    /// Sum over tokens, in nats.
    nll_nats: f64,
    tokens: u64,
    words: u64,
    bytes: u64,
}

impl NllTotal {
    /// Adds one scored token with its negative log-likelihood in nats.
    ///
    /// # Errors
    /// A value that is not finite, or negative by more than rounding (1e-4),
    /// which would be a log-likelihood with the wrong sign.
    pub fn add_token(&mut self, nll_nats: f64) -> Result<(), MetricError> {
        if !nll_nats.is_finite() {
            return Err(MetricError::NonFinite {
                what: "negative log-likelihood of token",
                index: usize::try_from(self.tokens).unwrap_or(usize::MAX),
                value: nll_nats,
            });
        }
        if nll_nats < -ROUNDING_NATS {
            return Err(MetricError::OutOfRange {
                what: "negative log-likelihood",
                value: nll_nats,
                expected: "a number of nats, 0 or more",
            });
        }
        self.nll_nats += nll_nats;
        self.tokens += 1;
        Ok(())
    }

    /// Counts the words and bytes of the text whose tokens are added. Add each
    /// piece of text once, divided at white space.
    pub fn add_text(&mut self, text: &str) {
        self.words += text.split_whitespace().count() as u64;
        self.bytes += text.len() as u64;
    }

    /// Adds the sums of another part of the corpus.
    pub fn merge(&mut self, other: &NllTotal) {
        self.nll_nats += other.nll_nats;
        self.tokens += other.tokens;
        self.words += other.words;
        self.bytes += other.bytes;
    }

    /// Summed negative log-likelihood, in nats.
    pub fn nll_nats(&self) -> f64 {
        self.nll_nats
    }

    /// Number of scored tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Number of words of the text.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// Number of UTF-8 bytes of the text.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Mean negative log-likelihood per token, in nats: the cross-entropy loss.
    ///
    /// # Errors
    /// [`MetricError::Empty`] without tokens.
    pub fn nats_per_token(&self) -> Result<f64, MetricError> {
        self.per("scored tokens", self.tokens)
    }

    /// Perplexity per token: `exp(NLL / tokens)`. Comparable only between
    /// models with the same tokenizer.
    ///
    /// # Errors
    /// [`MetricError::Empty`] without tokens, or a result beyond `f64`.
    pub fn token_perplexity(&self) -> Result<f64, MetricError> {
        check::no_overflow("token perplexity", self.nats_per_token()?.exp())
    }

    /// Perplexity per word: `exp(NLL / words)`, with the NLL of the tokens.
    /// Comparable between tokenizers that preserve the text.
    ///
    /// # Errors
    /// [`MetricError::Empty`] without tokens or words, or a result beyond `f64`.
    pub fn word_perplexity(&self) -> Result<f64, MetricError> {
        check::no_overflow("word perplexity", self.per("words", self.words)?.exp())
    }

    /// Bits per UTF-8 byte: `NLL / (bytes · ln 2)`. Comparable between tokenizers
    /// that preserve the text.
    ///
    /// # Errors
    /// [`MetricError::Empty`] without tokens or bytes.
    pub fn bits_per_byte(&self) -> Result<f64, MetricError> {
        Ok(self.per("bytes", self.bytes)? / LN_2)
    }

    fn per(&self, what: &'static str, count: u64) -> Result<f64, MetricError> {
        if self.tokens == 0 {
            return Err(MetricError::Empty {
                what: "scored tokens",
            });
        }
        if count == 0 {
            return Err(MetricError::Empty { what });
        }
        Ok(self.nll_nats / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{NllTotal, token_nll};
    use crate::MetricError;

    #[test]
    fn a_uniform_model_has_its_vocabulary_as_perplexity() {
        let mut total = NllTotal::default();
        for target in 0..5 {
            total
                .add_token(token_nll(&[3.0f32; 50], target).unwrap())
                .unwrap();
        }
        assert!((total.token_perplexity().unwrap() - 50.0).abs() < 1e-10);
    }

    #[test]
    fn normalisers_divide_the_same_sum() {
        let mut total = NllTotal::default();
        total.add_text(" héllo  world\n");
        for _ in 0..4 {
            total.add_token(1.5).unwrap();
        }
        assert_eq!((total.tokens(), total.words(), total.bytes()), (4, 2, 15));
        assert_eq!(total.nats_per_token(), Ok(1.5));
        assert_eq!(total.token_perplexity(), Ok(1.5f64.exp()));
        assert_eq!(total.word_perplexity(), Ok(3f64.exp()));
        assert_eq!(total.bits_per_byte(), Ok(6.0 / 15.0 / 2f64.ln()));
    }

    #[test]
    fn merging_is_adding() {
        let (mut whole, mut first, mut second) = <(NllTotal, NllTotal, NllTotal)>::default();
        for (part, text, nll) in [(&mut first, "a b", 0.5), (&mut second, "c", 2.25)] {
            for total in [part, &mut whole] {
                total.add_token(nll).unwrap();
                total.add_text(text);
            }
        }
        first.merge(&second);
        assert_eq!(first, whole);
    }

    #[test]
    fn nothing_is_not_a_perplexity_of_one() {
        let mut total = NllTotal::default();
        total.add_text("words without tokens");
        assert_eq!(
            total.word_perplexity(),
            Err(MetricError::Empty {
                what: "scored tokens"
            })
        );
        let mut total = NllTotal::default();
        total.add_token(1.0).unwrap();
        assert_eq!(
            total.bits_per_byte(),
            Err(MetricError::Empty { what: "bytes" })
        );
    }

    #[test]
    fn refuses_what_is_no_likelihood() {
        let mut total = NllTotal::default();
        assert!(matches!(
            total.add_token(-2.0),
            Err(MetricError::OutOfRange { .. })
        ));
        assert!(matches!(
            total.add_token(f64::NAN),
            Err(MetricError::NonFinite { .. })
        ));
        total.add_token(-1e-7).unwrap();
        assert_eq!(total.tokens(), 1);
        assert_eq!(
            token_nll(&[0.0f32; 3], 3),
            Err(MetricError::TargetOutOfRange {
                target: 3,
                vocabulary: 3
            })
        );
        total.add_token(1e4).unwrap();
        assert!(matches!(
            total.token_perplexity(),
            Err(MetricError::Overflow { .. })
        ));
    }
}
