//! The weights of linear layers, as an option of commands.

use anyhow::Result;
use bsbr_gpt2::{Gpt2, ProductType};

use super::choice;

/// Storage and products of the weights of linear layers.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct WeightsArgs {
    /// Pack the weights of linear layers for products in this type, on flex: f32 is exact, bf16,
    /// int8 and int4 round weights and inputs; int4 is the smallest and decodes fastest, but rounds
    /// the most. f32 and bf16 need an x86-64 CPU with AVX2 [default: no packing]
    #[arg(long, value_name = "TYPE", value_parser = choice::products())]
    weights: Option<ProductType>,
}

impl WeightsArgs {
    /// The type; `None` without packing.
    pub fn products(&self) -> Option<ProductType> {
        self.weights
    }

    /// The model with packed weights.
    ///
    /// # Errors
    ///
    /// Says what the device or CPU lacks.
    pub fn pack(&self, model: Gpt2) -> Result<Gpt2> {
        match self.weights {
            None => Ok(model),
            Some(products) => Ok(model.with_packed_weights(products)?),
        }
    }

    /// The same choice as arguments of a process.
    pub fn arguments(&self) -> Vec<String> {
        let of = |products: ProductType| ["--weights".to_owned(), products.name().to_owned()];
        self.weights.map(of).into_iter().flatten().collect()
    }
}
