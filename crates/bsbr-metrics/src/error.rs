//! Errors in the input of a metric.

/// Why a metric has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The input is empty.
    #[error("no {what} to measure")]
    Empty {
        /// The missing items, in the plural.
        what: &'static str,
    },
    /// Two inputs that belong together have different lengths.
    #[error("{left} values on the left, {right} on the right: expected the same number")]
    LengthMismatch {
        /// Length of the first input.
        left: usize,
        /// Length of the second input.
        right: usize,
    },
    /// A `NaN` or an infinity among the inputs.
    #[error("{what} {index} is {value}, expected a finite number")]
    NonFinite {
        /// What the number stands for, in the singular.
        what: &'static str,
        /// Its position in the input.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The result exceeds the range of `f64`.
    #[error("{what} is too large for a 64-bit float")]
    Overflow {
        /// The result that overflowed.
        what: &'static str,
    },
    /// The cosine of a zero vector, which is undefined.
    #[error("the {which} vector is zero: it has no direction")]
    ZeroVector {
        /// `left` or `right`.
        which: &'static str,
    },
    /// A flat buffer that is not a whole number of rows.
    #[error("{len} values are not a whole number of rows of {width}")]
    NotRows {
        /// Length of the buffer.
        len: usize,
        /// Width of a row.
        width: usize,
    },
    /// An error in a row of a batch.
    #[error("row {row}: {source}")]
    Row {
        /// Index of the row.
        row: usize,
        /// The error.
        source: Box<MetricError>,
    },
    /// A k that is zero or exceeds the number of logits.
    #[error("k is {k}, expected 1 to the vocabulary's {vocabulary}")]
    KOutOfRange {
        /// The requested k.
        k: usize,
        /// Number of logits.
        vocabulary: usize,
    },
    /// A target token outside the vocabulary.
    #[error("target {target} is outside the vocabulary of {vocabulary}")]
    TargetOutOfRange {
        /// The token id.
        target: usize,
        /// Number of logits.
        vocabulary: usize,
    },
    /// A setting or a value outside its range.
    #[error("{what} is {value}, expected {expected}")]
    OutOfRange {
        /// Name of the value.
        what: &'static str,
        /// The value found.
        value: f64,
        /// The accepted range, in words.
        expected: &'static str,
    },
    /// A sample that must be above zero is not.
    #[error("{what} {index} is {value}, expected a number above zero")]
    NotPositive {
        /// What the sample represents, in the singular.
        what: &'static str,
        /// Its position in the input.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Too few samples for the statistic.
    #[error("{found} samples, expected at least {needed}")]
    TooFewSamples {
        /// Number of samples given.
        found: usize,
        /// Number of samples needed.
        needed: usize,
    },
    /// More successes than trials.
    #[error("{successes} successes in {trials} trials")]
    SuccessesExceedTrials {
        /// Number of successes.
        successes: u64,
        /// Number of trials.
        trials: u64,
    },
    /// Weights that are not a probability distribution.
    #[error("the weights sum to {sum}, expected 1 (to within {tolerance})")]
    NotDistribution {
        /// Their sum.
        sum: f64,
        /// The maximum deviation from 1.
        tolerance: f64,
    },
    /// The ROUGE scorer rejected its configuration.
    #[error(transparent)]
    Rouge(#[from] rougers::Error),
}
