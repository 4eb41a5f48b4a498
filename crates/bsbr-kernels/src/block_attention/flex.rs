//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;

use super::far::HeadState;
use super::forward::forward;
use super::{BlockAttention, BlockAttentionOps, BlockStatesPrimitive, portable};
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::{Heads, contiguous, elements, forward_strides, heads_from_tokens, is_f32};

impl BlockAttentionOps for Flex {
    fn block_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> FlexTensor {
        if ![&q, &k, &v].into_iter().all(is_f32) {
            return portable::forward::<Self>([q, k, v], states, settings, scale);
        }
        let bases = match states {
            BlockStatesPrimitive::Compressed { key, value } if is_f32(&key) && is_f32(&value) => {
                Ok([key, value].map(contiguous))
            }
            BlockStatesPrimitive::Whole => Err(HeadState::Whole),
            BlockStatesPrimitive::Off => Err(HeadState::Off),
            states => return portable::forward::<Self>([q, k, v], states, settings, scale),
        };
        let [q, k, v] = [q, k, v].map(forward_strides);
        let inputs = [Heads::new(&q), Heads::new(&k), Heads::new(&v)];
        let shape = inputs[0].shape;
        let states: Vec<_> = (0..shape[1])
            .map(|head| match &bases {
                Err(state) => *state,
                Ok([key, value]) => HeadState::Compressed {
                    key: basis(key, head),
                    value: basis(value, head),
                },
            })
            .collect();
        heads_from_tokens(forward(inputs, &states, &settings, scale as f32), shape)
    }
}

/// The matrix `[D, r]` of one head.
fn basis(tensor: &FlexTensor, head: usize) -> Mat<'_> {
    let shape = tensor.layout().shape();
    let (d, r) = (shape[1], shape[2]);
    Mat::dense(&elements(tensor)[head * d * r..], d, r)
}
