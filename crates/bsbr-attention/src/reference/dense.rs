//! softmax(σ QKᵀ + causal mask) V.

use bsbr_kernels::{KvBits, round_to_bits};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::Head;

pub(super) fn forward(bits: KvBits, head: &Head) -> Tensor<2> {
    let n = head.tokens();
    let [key, value] = [&head.key, &head.value].map(|x| round_to_bits(x.clone(), bits));
    let later = Tensor::<2, Bool>::tril_mask([n, n], 0, &head.query.device());
    let logits = head.query.clone().matmul(key.transpose()) * head.scale;
    let weights = softmax(logits.mask_fill(later, f32::NEG_INFINITY), 1);
    weights.matmul(value)
}
