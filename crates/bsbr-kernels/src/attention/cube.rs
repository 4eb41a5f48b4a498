//! Both passes on devices with CubeCL kernels: block attention with a single chunk.

use burn::backend::Cube;
use burn::backend::tensor::FloatTensor;

use super::{AttentionOps, portable};
use crate::block_attention::{causal_cube, causal_cube_backward};

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
    fn causal_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        match causal_cube_backward([&q, &k, &v], [&out, &lse, &grad], scale) {
            Some(done) => done,
            None => portable::backward::<Self>([q, k, v], out, lse, grad, scale),
        }
    }
}
