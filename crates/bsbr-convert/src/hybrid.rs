//! Dense attention for short sequences, an arm for long ones.

use bsbr_attention::ArmConfig;
use bsbr_gpt2::Gpt2;

use crate::convert::convert;
use crate::error::ConvertError;
use crate::plan::ConversionPlan;

/// A converted model for long sequences, and the same weights with dense attention for short
/// ones.
///
/// Dense attention is exact, and on short sequences also faster. The caller chooses the form
/// once, by the final length of the sequence. There is no `forward` here that chooses by the
/// tokens seen so far, because its result would depend on how a sequence is divided: the dense
/// form would read the first pieces of a long sequence.
///
/// Choosing by length has these consequences:
///
/// - A sequence keeps its form, including the cache. Count the tokens to be generated: choose for
///   prompt and continuation together.
/// - Each form is causal, and streaming equals the parallel form. The choice breaks both: if a
///   text is longer than the boundary and a part of it is not, different forms read their common
///   tokens, and the results differ by the loss of conversion.
/// - Choose for each row of a padded batch by its own length, so padding changes nothing.
#[derive(Debug, Clone)]
pub struct Hybrid {
    dense: Gpt2,
    converted: Gpt2,
    longest_dense: usize,
}

impl Hybrid {
    /// A converted model that uses dense attention for sequences of up to `longest_dense` tokens.
    /// Weights are shared, not copied.
    ///
    /// # Errors
    ///
    /// [`ConvertError`] if the model's configuration is invalid for a dense model.
    pub fn new(converted: Gpt2, longest_dense: usize) -> Result<Self, ConvertError> {
        let undo = ConversionPlan::uniform(ArmConfig::DENSE);
        Ok(Self {
            dense: convert(converted.clone(), &undo)?,
            converted,
            longest_dense,
        })
    }

    /// The longest sequence that is read with dense attention.
    pub fn longest_dense(&self) -> usize {
        self.longest_dense
    }

    /// The form for a sequence of `tokens` tokens in total.
    pub fn for_length(&self, tokens: usize) -> &Gpt2 {
        match tokens <= self.longest_dense {
            true => &self.dense,
            false => &self.converted,
        }
    }
}
