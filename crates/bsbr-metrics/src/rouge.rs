//! ROUGE: overlap of a candidate text with a reference text (Lin, 2004).
//!
//! The scores equal those of Google's `rouge-score` package, which published summarisation
//! results usually report. The `rougers` crate computes them, and this crate's tests
//! compare them with the package.
//!
//! - The input is text, never token ids. It is lowercased, and every character except
//!   ASCII letters and digits separates tokens: `it's` is two tokens, `café` is `caf`, and
//!   a text in another script has none and scores 0.
//! - With stemming, tokens of more than three characters go through NLTK's
//!   Porter stemmer.
//! - ROUGE-L is the longest common subsequence of the whole texts. ROUGE-Lsum treats every
//!   line as a sentence and uses the union of the sentences' longest common subsequences.
//!   Put one sentence on a line to use it.
//! - A text without tokens scores 0, even against itself.

use rougers::{RougeScorer, RougeType, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::MetricError;

/// One ROUGE score: shares in 0..=1, not percentages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// Matches / units of the candidate.
    pub precision: f64,
    /// Matches / units of the reference.
    pub recall: f64,
    /// Harmonic mean of precision and recall: `2PR / (P + R)`, or 0 if both are 0.
    pub f1: f64,
}

/// The four usual ROUGE scores of one pair of texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScores {
    /// Tokens in common, each counted at most as often as in either text.
    pub rouge1: RougeScore,
    /// Pairs of adjacent tokens in common.
    pub rouge2: RougeScore,
    /// Longest common subsequence of the whole texts.
    #[serde(rename = "rougeL")]
    pub rouge_l: RougeScore,
    /// Union of the longest common subsequences of lines.
    #[serde(rename = "rougeLsum")]
    pub rouge_lsum: RougeScore,
}

/// Scores `candidate` against `reference`. Swapping the two swaps precision and recall of
/// all scores except ROUGE-Lsum.
///
/// # Errors
/// [`MetricError::Rouge`] if the scorer rejects its own variants, which would be a defect
/// of this crate.
pub fn rouge(reference: &str, candidate: &str, stemming: bool) -> Result<RougeScores, MetricError> {
    let variants = vec![
        RougeType::N(1),
        RougeType::N(2),
        RougeType::L,
        RougeType::LSum,
    ];
    let scorer = RougeScorer::with_tokenizer(variants, Tokenizer::new(stemming))?;
    let mut scores = RougeScores::default();
    for (variant, score) in scorer.score(reference, candidate) {
        let score = RougeScore {
            precision: score.precision,
            recall: score.recall,
            f1: score.fmeasure,
        };
        match variant {
            RougeType::N(1) => scores.rouge1 = score,
            RougeType::N(_) => scores.rouge2 = score,
            RougeType::L => scores.rouge_l = score,
            RougeType::LSum => scores.rouge_lsum = score,
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::{RougeScores, rouge};

    #[test]
    fn counts_by_hand() {
        // In common and in order: the, cat, on, the, mat; pairs: the cat, on the, the mat.
        let scores = rouge("the cat sat on the mat", "the cat is on the mat", false).unwrap();
        assert_eq!(scores.rouge1.recall, 5.0 / 6.0);
        assert_eq!(scores.rouge2.precision, 3.0 / 5.0);
        assert_eq!(scores.rouge_l.f1, 5.0 / 6.0);
    }

    #[test]
    fn lines_are_the_sentences_of_lsum() {
        let scores = rouge("a b c\nd e f", "d e f\na b c", false).unwrap();
        assert_eq!(scores.rouge_l.recall, 0.5);
        assert_eq!(scores.rouge_lsum.recall, 1.0);
    }

    #[test]
    fn no_tokens_score_zero() {
        for text in ["", "...", "привет"] {
            assert_eq!(rouge(text, text, true).unwrap(), RougeScores::default());
        }
    }
}
