//! The operation on the autodiff backend: the gradients are computed with the
//! loss.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, binary};
use burn::backend::tensor::{FloatTensor, IntTensor};

use super::LinearCrossEntropyOps;
use crate::bf16_matmul::Bf16Weight;

#[derive(Debug)]
struct LinearCrossEntropy;

impl<B: LinearCrossEntropyOps> Backward<B, 2> for LinearCrossEntropy {
    /// Gradients of the loss with respect to hidden and head.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (dhidden, dhead) = ops.state;
        binary::<B, _, _>(
            ops.parents,
            ops.node,
            grads,
            |grad| B::scaled_by(dhidden, grad),
            |grad| B::scaled_by(dhead, grad),
        );
    }
}

impl<B: LinearCrossEntropyOps, C: CheckpointStrategy> LinearCrossEntropyOps for Autodiff<B, C> {
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        of_loss::<B, C>(
            [hidden, head],
            |[hidden, head], head_grad| {
                let weights = weights.primitive().clone();
                let targets = targets.clone();
                B::linear_cross_entropy_with_grads(hidden, head, targets, weights, head_grad)
            },
            |[hidden, head]| {
                let weights = weights.primitive().clone();
                B::linear_cross_entropy(hidden, head, targets.clone(), weights)
            },
        )
    }

    fn linear_cross_entropy_bf16(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
        packed: Bf16Weight,
    ) -> FloatTensor<Self> {
        of_loss::<B, C>(
            [hidden, head],
            |[hidden, head], head_grad| {
                let weights = weights.primitive().clone();
                let (targets, packed) = (targets.clone(), packed.clone());
                B::linear_cross_entropy_bf16_with_grads(
                    hidden, head, targets, weights, head_grad, packed,
                )
            },
            |[hidden, head]| {
                let weights = weights.primitive().clone();
                let (targets, packed) = (targets.clone(), packed.clone());
                B::linear_cross_entropy_bf16(hidden, head, targets, weights, packed)
            },
        )
    }
}

/// A loss of hidden and head: with its gradients where one is needed, and whether that of the head
/// is, or alone.
fn of_loss<B: LinearCrossEntropyOps, C: CheckpointStrategy>(
    [hidden, head]: [FloatTensor<Autodiff<B, C>>; 2],
    with_grads: impl FnOnce(
        [FloatTensor<B>; 2],
        bool,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
    alone: impl FnOnce([FloatTensor<B>; 2]) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let head_grad = head.is_tracked();
    let (hidden, hidden_node) = hidden.into_parts();
    let (head, head_node) = head.into_parts();
    let prep = LinearCrossEntropy.prepare::<C>([hidden_node, head_node]);
    match prep.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (loss, dhidden, dhead) = with_grads([hidden, head], head_grad);
            prep.finish((dhidden, dhead), loss)
        }
        OpsKind::UnTracked(prep) => prep.finish(alone([hidden, head])),
    }
}
