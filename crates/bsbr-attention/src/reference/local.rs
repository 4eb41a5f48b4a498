//! Dense attention with everything hidden except sinks, own chunk and the P chunks
//! before it.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use super::Head;
use crate::config::LocalConfig;

pub(super) fn forward(config: &LocalConfig, head: &Head) -> Tensor<2> {
    let n = head.tokens();
    let mut hidden = vec![true; n * n];
    for i in 0..n {
        for j in 0..=i {
            hidden[i * n + j] = !attends(config, i, j);
        }
    }
    let device = head.query.device();
    let hidden = Tensor::from_data(TensorData::new(hidden, [n, n]), &device);
    let logits = head.query.clone().matmul(head.key.clone().transpose()) * head.scale;
    let weights = softmax(logits.mask_fill(hidden, f32::NEG_INFINITY), 1);
    weights.matmul(head.value.clone())
}

fn attends(config: &LocalConfig, i: usize, j: usize) -> bool {
    let sinks = config.sink_tokens;
    if i < sinks || j < sinks {
        return true;
    }
    let chunk = |token: usize| (token - sinks) / config.chunk_size;
    chunk(j) + config.near_chunks >= chunk(i)
}
