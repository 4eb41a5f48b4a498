//! softmax(σ QKᵀ + causal mask) V.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::Head;

pub(super) fn forward(head: &Head) -> Tensor<2> {
    let n = head.tokens();
    let later = Tensor::<2, Bool>::tril_mask([n, n], 0, &head.query.device());
    let logits = head.query.clone().matmul(head.key.clone().transpose()) * head.scale;
    let weights = softmax(logits.mask_fill(later, f32::NEG_INFINITY), 1);
    weights.matmul(head.value.clone())
}
