//! The weights of linear layers, as an option of commands.

use anyhow::Result;
use bsbr_gpt2::{Gpt2, ProductType};

/// Storage and products of the weights of linear layers.
#[derive(clap::Args)]
pub struct WeightsArgs {
    /// Pack the weights of linear layers for products in this type, on flex: f32 is exact, bf16 and
    /// int8 round weights and inputs; f32 and bf16 need a CPU with AVX-512 and AVX512-BF16
    /// [default: no packing]
    #[arg(long, value_enum, value_name = "TYPE")]
    weights: Option<Weights>,
}

/// A type of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Weights {
    F32,
    Bf16,
    Int8,
}

impl WeightsArgs {
    /// The model with packed weights.
    ///
    /// # Errors
    ///
    /// Says what the device or CPU lacks.
    pub fn pack(&self, model: Gpt2) -> Result<Gpt2> {
        let products = match self.weights {
            None => return Ok(model),
            Some(Weights::F32) => ProductType::F32,
            Some(Weights::Bf16) => ProductType::Bf16,
            Some(Weights::Int8) => ProductType::Int8,
        };
        Ok(model.with_packed_weights(products)?)
    }
}
