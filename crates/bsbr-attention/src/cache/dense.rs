//! All keys and values.

use bsbr_kernels::round_to_bits;
use burn::tensor::Tensor;

use super::growing::{Growing, STEP};
use crate::attention::AttentionInput;
use crate::config::{DenseConfig, KvBits};
use crate::dense;
use crate::joint::{self, FUSED_FROM, Window};

/// Keys and values are rounded, but stored in the type of the tensors.
#[derive(Debug, Clone)]
pub(super) struct DenseCache {
    bits: KvBits,
    keys: Growing,
    values: Growing,
}

impl DenseCache {
    pub fn new(config: &DenseConfig) -> Self {
        Self {
            bits: config.kv_bits,
            keys: Growing::new(STEP),
            values: Growing::new(STEP),
        }
    }

    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    pub fn feed(&mut self, mut piece: AttentionInput) -> Tensor<4> {
        piece.key = round_to_bits(piece.key, self.bits);
        piece.value = round_to_bits(piece.value, self.bits);
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
        joint::plain(query, None, None, None, window, None)
            .output
            .squeeze_dim(2)
    }
}
