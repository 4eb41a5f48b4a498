//! The operation on the autodiff backend: fused passes in both directions.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;

use super::LayerNormOps;

#[derive(Debug)]
struct LayerNorm;

impl<B: LayerNormOps> Backward<B, 3> for LayerNorm {
    type State = ([NodeId; 2], f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let (inputs, epsilon) = ops.state;
        let [x, gamma] = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let (dx, dgamma, dbeta) = B::layer_norm_fused_backward(x, gamma, grad, epsilon);
        for (parent, grad) in ops.parents.into_iter().zip([dx, dgamma, dbeta]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

impl<B: LayerNormOps, C: CheckpointStrategy> LayerNormOps for Autodiff<B, C> {
    fn layer_norm_fused(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let [px, pgamma, pbeta] = [&x, &gamma, &beta].map(|t| t.primitive().clone());
        let out = B::layer_norm_fused(px, pgamma, pbeta, epsilon);
        let prep = LayerNorm.prepare::<C>([x.node(), gamma.node(), beta.node()]);
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let inputs = [&x, &gamma].map(|t| prep.checkpoint(t));
                prep.finish((inputs, epsilon), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
