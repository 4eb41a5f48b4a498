//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::backward::{Saved, backward};
use super::forward::forward;
use super::{AttentionOps, portable};
use crate::cpu::tensor::{Heads, forward_strides, heads_from_tokens, is_f32};

impl AttentionOps for Flex {
    fn causal_attention_forward(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        scale: f64,
    ) -> (FlexTensor, FlexTensor) {
        if ![&q, &k, &v].into_iter().all(is_f32) {
            return portable::forward::<Self>(q, k, v, scale);
        }
        let [q, k, v] = [q, k, v].map(forward_strides);
        let (q, k, v) = (Heads::new(&q), Heads::new(&k), Heads::new(&v));
        let [b, h, n, _] = q.shape;
        let (out, lse) = forward(q, k, v, scale as f32);
        let lse = heads_from_tokens(lse, [b, h, n, 1]);
        (
            heads_from_tokens(out, q.shape),
            lse.reshape(Shape::from([b, h, n])),
        )
    }

    fn causal_attention_backward(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        out: FlexTensor,
        lse: FlexTensor,
        grad: FlexTensor,
        scale: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if ![&q, &k, &v, &out, &lse, &grad].into_iter().all(is_f32) {
            return portable::backward::<Self>([q, k, v], out, lse, grad, scale);
        }
        let [q, k, v, out, lse, grad] = [q, k, v, out, lse, grad].map(forward_strides);
        let saved = Saved {
            q: Heads::new(&q),
            k: Heads::new(&k),
            v: Heads::new(&v),
            out: Heads::new(&out),
            lse: Heads::columns(&lse),
            grad: Heads::new(&grad),
            scale: scale as f32,
        };
        let (q_shape, k_shape) = (saved.q.shape, saved.k.shape);
        let [dq, dk, dv] = backward(saved);
        (
            heads_from_tokens(dq, q_shape),
            heads_from_tokens(dk, k_shape),
            heads_from_tokens(dv, k_shape),
        )
    }
}
