//! The operation on the autodiff backend: fused passes in both directions.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::{FloatTensor, IntTensor};

use super::CrossEntropyOps;

#[derive(Debug)]
struct CrossEntropy;

impl<B: CrossEntropyOps> Backward<B, 1> for CrossEntropy {
    /// Logits, targets, weights, log-sum-exp.
    type State = (NodeId, IntTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (logits, targets, weights, lse) = ops.state;
        let logits = checkpointer.retrieve_node_output(logits);
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::cross_entropy_backward(logits, targets, weights, lse, grad)
        });
    }
}

impl<B: CrossEntropyOps, C: CheckpointStrategy> CrossEntropyOps for Autodiff<B, C> {
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weights = weights.into_primitive();
        let primitive = logits.primitive().clone();
        let (loss, lse) = B::cross_entropy_forward(primitive, targets.clone(), weights.clone());
        match CrossEntropy
            .prepare::<C>([logits.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let logits = prep.checkpoint(&logits);
                prep.finish((logits, targets, weights, lse), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}
