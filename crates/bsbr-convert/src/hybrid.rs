//! Dense attention for short sequences, an arm for long ones.

use bsbr_attention::ArmConfig;
use bsbr_gpt2::Gpt2;

use crate::convert::convert;
use crate::error::ConvertError;
use crate::plan::ConversionPlan;

/// A converted model for long sequences, and its own weights with dense attention for short ones.
///
/// Dense attention is exact, and up to some length it is also the faster one. Which form reads a
/// sequence is chosen once, by the caller, who knows how long the sequence will become. There is
/// no `forward` here that chooses by the tokens at hand, because it would not give the same at
/// once and in pieces: the first pieces of a long sequence would be read by the dense form.
///
/// What follows from choosing by length:
///
/// - A sequence stays with the form that it began with, cache included. What is to be generated
///   counts: choose for prompt and continuation together.
/// - Each form is causal and streams as it reads in parallel. The choice is neither: where a text
///   is longer than the boundary and a part of it is not, their common tokens are read by
///   different forms, and differ by what the conversion loses.
/// - A row of a padded batch is chosen for by its own length, so that padding changes nothing.
#[derive(Debug, Clone)]
pub struct Hybrid {
    dense: Gpt2,
    converted: Gpt2,
    longest_dense: usize,
}

impl Hybrid {
    /// A converted model, whose conversion is undone for sequences of up to `longest_dense`
    /// tokens. Weights are shared, not copied.
    ///
    /// # Errors
    ///
    /// [`ConvertError`] where the model's configuration is none that a dense model can have.
    pub fn new(converted: Gpt2, longest_dense: usize) -> Result<Self, ConvertError> {
        let undo = ConversionPlan::uniform(ArmConfig::DENSE);
        Ok(Self {
            dense: convert(converted.clone(), &undo)?,
            converted,
            longest_dense,
        })
    }

    /// The most tokens of a sequence that is read with dense attention.
    pub fn longest_dense(&self) -> usize {
        self.longest_dense
    }

    /// The form for a sequence that will have `tokens` tokens in all.
    pub fn for_length(&self, tokens: usize) -> &Gpt2 {
        match tokens <= self.longest_dense {
            true => &self.dense,
            false => &self.converted,
        }
    }
}
