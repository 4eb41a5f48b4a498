//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::backward::{Saved, backward};
use super::cache::{SharedBlockCache, on_host};
use super::far::HeadState;
use super::forward::forward;
use super::{BlockAttention, BlockAttentionOps, BlockStatesPrimitive, portable};
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::{
    Heads, contiguous, dense, elements, forward_strides, heads_from_tokens, is_f32,
};

impl BlockAttentionOps for Flex {
    fn block_attention_forward(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> (FlexTensor, FlexTensor) {
        if ![&q, &k, &v].into_iter().all(is_f32) || !has_f32_bases(&states) {
            return portable::forward::<Self>([q, k, v], states, settings, scale);
        }
        let states = states.map(contiguous);
        let [q, k, v] = [q, k, v].map(forward_strides);
        let inputs = [Heads::new(&q), Heads::new(&k), Heads::new(&v)];
        let shape @ [b, h, n, _] = inputs[0].shape;
        let states = of_heads(&states, h);
        let (out, lse) = forward(inputs, &states, &settings, scale as f32);
        let lse = heads_from_tokens(lse, [b, h, n, 1]);
        (
            heads_from_tokens(out, shape),
            lse.reshape(Shape::from([b, h, n])),
        )
    }

    fn block_attention_backward(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        states: BlockStatesPrimitive<Self>,
        out: FlexTensor,
        lse: FlexTensor,
        grad: FlexTensor,
        settings: BlockAttention,
        scale: f64,
    ) -> (
        FlexTensor,
        FlexTensor,
        FlexTensor,
        BlockStatesPrimitive<Self>,
    ) {
        let all = [&q, &k, &v, &out, &lse, &grad];
        if !all.into_iter().all(is_f32) || !has_f32_bases(&states) {
            return portable::backward::<Self>([q, k, v], states, grad, settings, scale);
        }
        let states = states.map(contiguous);
        let [q, k, v, out, lse, grad] = [q, k, v, out, lse, grad].map(forward_strides);
        let q = Heads::new(&q);
        let shape @ [_, h, _, d] = q.shape;
        let gradients = backward(Saved {
            q,
            k: Heads::new(&k),
            v: Heads::new(&v),
            states: &of_heads(&states, h),
            out: Heads::new(&out),
            lse: Heads::columns(&lse),
            grad: Heads::new(&grad),
            settings: &settings,
            scale: scale as f32,
        });
        let [dq, dk, dv] = gradients.inputs.map(|x| heads_from_tokens(x, shape));
        let mut bases = gradients.bases.into_iter();
        let of_bases = states.map(|_| {
            let basis = bases.next().unwrap_or_default();
            let rank = basis.len() / (h * d).max(1);
            dense(basis, [h, d, rank])
        });
        (dq, dk, dv, of_bases)
    }

    fn block_attention_cached(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        cache: SharedBlockCache,
        scale: f64,
    ) -> FlexTensor {
        if ![&q, &k, &v].into_iter().all(is_f32) {
            return on_host::<Self>([q, k, v], &cache, scale);
        }
        let [q, k, v] = [q, k, v].map(forward_strides);
        let inputs = [Heads::new(&q), Heads::new(&k), Heads::new(&v)];
        let shape = inputs[0].shape;
        heads_from_tokens(cache.feed(inputs, scale), shape)
    }
}

/// Whether the kernel supports the bases, if any.
fn has_f32_bases(states: &BlockStatesPrimitive<Flex>) -> bool {
    match states {
        BlockStatesPrimitive::Off | BlockStatesPrimitive::Whole => true,
        BlockStatesPrimitive::Compressed { key, value } => is_f32(key) && is_f32(value),
    }
}

/// The form of each head's states, whose bases are contiguous.
fn of_heads(states: &BlockStatesPrimitive<Flex>, heads: usize) -> Vec<HeadState<'_>> {
    let of_head = |head| match states {
        BlockStatesPrimitive::Off => HeadState::Off,
        BlockStatesPrimitive::Whole => HeadState::Whole,
        BlockStatesPrimitive::Compressed { key, value } => HeadState::Compressed {
            key: basis(key, head),
            value: basis(value, head),
        },
    };
    (0..heads).map(of_head).collect()
}

/// The matrix `[D, r]` of one head.
fn basis(tensor: &FlexTensor, head: usize) -> Mat<'_> {
    let shape = tensor.layout().shape();
    let (d, r) = (shape[1], shape[2]);
    Mat::dense(&elements(tensor)[head * d * r..], d, r)
}
