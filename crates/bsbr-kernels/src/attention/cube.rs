//! The forward pass on devices that CubeCL has kernels for: block attention with a single block.

use burn::backend::Cube;
use burn::backend::tensor::FloatTensor;

use super::{AttentionOps, portable};
use crate::block_attention::causal_cube;

impl AttentionOps for Cube {
    fn causal_attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        match causal_cube([&q, &k, &v], scale) {
            Some(done) => done,
            None => portable::forward::<Self>(q, k, v, scale),
        }
    }
}
