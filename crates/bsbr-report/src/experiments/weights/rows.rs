//! Arms with each type of weights.

use bsbr_gpt2::{Gpt2, ProductType};

use crate::spec::ArmSpec;

/// An arm, and the type of its linear layers' weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variant {
    /// Its id in records: that of the arm alone for stored weights.
    pub id: String,
    /// Its name in tables.
    pub label: String,
    /// The arm's index.
    pub arm: usize,
    /// `None` for stored weights in f32.
    pub products: Option<ProductType>,
}

/// The rows of a table, all types of an arm before the next arm; `None` if a type is unknown.
pub(super) fn rows(arms: &[ArmSpec], weights: &[String]) -> Option<Vec<Variant>> {
    let mut all = Vec::new();
    for (place, arm) in arms.iter().enumerate() {
        for name in weights {
            let known = ProductType::ALL.into_iter();
            let products = known.into_iter().find(|one| one.name() == name)?;
            all.push(match products {
                ProductType::F32 => Variant {
                    id: arm.id.clone(),
                    label: format!("{}, f32", arm.label),
                    arm: place,
                    products: None,
                },
                other => Variant {
                    id: format!("{}-{name}", arm.id),
                    label: format!("{}, {name}", arm.label),
                    arm: place,
                    products: Some(other),
                },
            });
        }
    }
    Some(all)
}

/// Size in bytes of the weights of linear layers and of the output layer.
pub(super) fn bytes(model: &Gpt2) -> usize {
    match model.packed_bytes() {
        0 => {
            let config = model.config();
            let (size, inner) = (config.n_embd, config.inner_size());
            let linear = 4 * size * size + 2 * size * inner + 5 * size + inner;
            (config.n_layer * linear + config.vocab_size * size) * size_of::<f32>()
        }
        packed => packed,
    }
}
