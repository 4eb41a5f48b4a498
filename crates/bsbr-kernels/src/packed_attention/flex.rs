//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::{PackedAttentionOps, portable};
use crate::attention::{Saved, backward_packed, forward};
use crate::cpu::tensor::{Heads, dense, forward_strides, heads_from_tokens, is_f32};

impl PackedAttentionOps for Flex {
    // The log-sum-exp has no extra cost.
    fn causal_attention_packed(qkv: FlexTensor, heads: usize, scale: f64) -> FlexTensor {
        Self::causal_attention_packed_forward(qkv, heads, scale).0
    }

    fn causal_attention_packed_forward(
        qkv: FlexTensor,
        heads: usize,
        scale: f64,
    ) -> (FlexTensor, FlexTensor) {
        if !is_f32(&qkv) {
            return portable::forward::<Self>(qkv, heads, scale);
        }
        let qkv = forward_strides(qkv);
        let shape = qkv.layout().shape().clone();
        let (b, n, c) = (shape[0], shape[1], shape[2] / 3);
        let [q, k, v] = [0, 1, 2].map(|part| Heads::packed(&qkv, part, [heads, c / heads]));
        let (out, lse) = forward(q, k, v, scale as f32);
        let lse = heads_from_tokens(lse, [b, heads, n, 1]);
        (
            dense(out, [b, n, c]),
            lse.reshape(Shape::from([b, heads, n])),
        )
    }

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
