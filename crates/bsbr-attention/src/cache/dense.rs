//! All keys and values.

use burn::tensor::Tensor;

use super::growing::{Growing, STEP};
use crate::attention::AttentionInput;
use crate::dense;
use crate::joint::{self, FUSED_FROM, Window};

#[derive(Debug, Clone)]
pub(super) struct DenseCache {
    keys: Growing,
    values: Growing,
}

impl Default for DenseCache {
    fn default() -> Self {
        Self {
            keys: Growing::new(STEP),
            values: Growing::new(STEP),
        }
    }
}

impl DenseCache {
    pub fn numbers(&self) -> usize {
        self.keys.numbers() + self.values.numbers()
    }

    pub fn feed(&mut self, piece: AttentionInput) -> Tensor<4> {
        let before = self.keys.len();
        self.keys.append(piece.key.clone());
        self.values.append(piece.value.clone());
        if before == 0 {
            return dense::attend(piece.query, piece.key, piece.value, piece.scale);
        }
        let (keys, values) = match self.keys.all().zip(self.values.all()) {
            Some(all) => all,
            // Unreachable: `before` is not 0.
            None => (piece.key, piece.value),
        };
        if piece.query.dims()[2] >= FUSED_FROM {
            return dense::attend(piece.query, keys, values, piece.scale);
        }
        let window = Window {
            keys: keys.unsqueeze_dim(2),
            values: values.unsqueeze_dim(2),
        };
        let query = (piece.query * piece.scale).unsqueeze_dim(2);
        joint::plain(query, None, None, window, None)
            .output
            .squeeze_dim(2)
    }
}
