//! The operation on the autodiff backend: its own passes in both directions.

use burn::backend::Backend;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;

use super::{BlockAttention, BlockAttentionOps, BlockStatesPrimitive};

/// The operation on q, k and v, and optionally on two bases.
#[derive(Debug)]
struct BlockAttentionStep;

/// What the backward pass needs of N inputs.
#[derive(Debug, Clone)]
struct Saved<B: Backend, const N: usize> {
    inputs: [NodeId; N],
    /// Whether there are states without bases.
    whole: bool,
    out: FloatTensor<B>,
    lse: FloatTensor<B>,
    settings: BlockAttention,
    scale: f64,
}

impl<B: BlockAttentionOps, const N: usize> Backward<B, N> for BlockAttentionStep {
    type State = Saved<B, N>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let saved = ops.state;
        let inputs: [FloatTensor<B>; N] =
            saved.inputs.map(|id| checkpointer.retrieve_node_output(id));
        let Some(([q, k, v], bases)) = inputs.split_first_chunk::<3>() else {
            return;
        };
        let states = match bases {
            [key, value] => BlockStatesPrimitive::Compressed {
                key: key.clone(),
                value: value.clone(),
            },
            _ if saved.whole => BlockStatesPrimitive::Whole,
            _ => BlockStatesPrimitive::Off,
        };
        let (dq, dk, dv, bases) = B::block_attention_backward(
            q.clone(),
            k.clone(),
            v.clone(),
            states,
            saved.out,
            saved.lse,
            grad,
            saved.settings,
            saved.scale,
        );
        let mut gradients = vec![dq, dk, dv];
        if let BlockStatesPrimitive::Compressed { key, value } = bases {
            gradients.extend([key, value]);
        }
        for (parent, grad) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

impl<B: BlockAttentionOps, C: CheckpointStrategy> BlockAttentionOps for Autodiff<B, C> {
    fn block_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> FloatTensor<Self> {
        let [pq, pk, pv] = [&q, &k, &v].map(|t| t.primitive().clone());
        let inner = states.clone().map(|basis| basis.primitive().clone());
        let (out, lse) = B::block_attention_forward(pq, pk, pv, inner, settings, scale);
        match states {
            BlockStatesPrimitive::Compressed { key, value } => {
                let all = [q, k, v, key, value];
                tracked::<B, C, 5>(all, false, [out, lse], settings, scale)
            }
            states => {
                let whole = matches!(states, BlockStatesPrimitive::Whole);
                tracked::<B, C, 3>([q, k, v], whole, [out, lse], settings, scale)
            }
        }
    }
}

/// The output as a node of the graph, if any of the inputs needs a gradient.
fn tracked<B: BlockAttentionOps, C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    whole: bool,
    [out, lse]: [FloatTensor<B>; 2],
    settings: BlockAttention,
    scale: f64,
) -> FloatTensor<Autodiff<B, C>> {
    let prep = BlockAttentionStep.prepare::<C>(inputs.each_ref().map(|input| input.node()));
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let inputs = inputs.each_ref().map(|input| prep.checkpoint(input));
            let saved = Saved {
                inputs,
                whole,
                out: out.clone(),
                lse,
                settings,
                scale,
            };
            prep.finish(saved, out)
        }
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}
