//! The operation on the autodiff backend: fused passes in both directions.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;

use super::AttentionOps;

#[derive(Debug)]
struct CausalAttention;

impl<B: AttentionOps> Backward<B, 3> for CausalAttention {
    type State = ([NodeId; 3], FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let (inputs, out, lse, scale) = ops.state;
        let [q, k, v] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let (dq, dk, dv) = B::causal_attention_backward(q, k, v, out, lse, grad, scale);
        for (parent, grad) in ops.parents.into_iter().zip([dq, dk, dv]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let primitives = [&q, &k, &v].map(|t| t.primitive().clone());
        let [pq, pk, pv] = primitives;
        let (out, lse) = B::causal_attention_forward(pq, pk, pv, scale);
        let prep = CausalAttention.prepare::<C>([q.node(), k.node(), v.node()]);
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let inputs = [&q, &k, &v].map(|t| prep.checkpoint(t));
                prep.finish((inputs, out.clone(), lse, scale), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
