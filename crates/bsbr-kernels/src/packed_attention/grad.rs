//! The operation on the autodiff backend: fused passes in both directions.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;

use super::PackedAttentionOps;

#[derive(Debug)]
struct PackedAttention;

impl<B: PackedAttentionOps> Backward<B, 1> for PackedAttention {
    type State = (NodeId, FloatTensor<B>, FloatTensor<B>, usize, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (qkv, out, lse, heads, scale) = ops.state;
        let qkv = checkpointer.retrieve_node_output(qkv);
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::causal_attention_packed_backward(qkv, out, lse, grad, heads, scale)
        });
    }
}

impl<B: PackedAttentionOps, C: CheckpointStrategy> PackedAttentionOps for Autodiff<B, C> {
    fn causal_attention_packed(
        qkv: FloatTensor<Self>,
        heads: usize,
        scale: f64,
    ) -> FloatTensor<Self> {
        let primitive = qkv.primitive().clone();
        let (out, lse) = B::causal_attention_packed_forward(primitive, heads, scale);
        match PackedAttention
            .prepare::<C>([qkv.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let qkv = prep.checkpoint(&qkv);
                prep.finish((qkv, out.clone(), lse, heads, scale), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
