//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;

use super::{PackedAttentionOps, portable};
use crate::attention::{Saved, backward_packed};
use crate::cpu::tensor::{Heads, dense, forward_strides, is_f32};

// The forward pass takes views of the parts, and merges heads without a copy.
impl PackedAttentionOps for Flex {
    fn causal_attention_packed_backward(
        qkv: FlexTensor,
        out: FlexTensor,
        lse: FlexTensor,
        grad: FlexTensor,
        heads: usize,
        scale: f64,
    ) -> FlexTensor {
        if ![&qkv, &out, &lse, &grad].into_iter().all(is_f32) {
            return portable::backward::<Self>(qkv, out, lse, grad, heads, scale);
        }
        let [qkv, out, lse, grad] = [qkv, out, lse, grad].map(forward_strides);
        let shape = qkv.layout().shape().clone();
        let head = [heads, shape[2] / 3 / heads];
        let saved = Saved {
            q: Heads::packed(&qkv, 0, head),
            k: Heads::packed(&qkv, 1, head),
            v: Heads::packed(&qkv, 2, head),
            out: Heads::packed(&out, 0, head),
            lse: Heads::columns(&lse),
            grad: Heads::packed(&grad, 0, head),
            scale: scale as f32,
        };
        dense(backward_packed(saved), shape)
    }
}
