//! The product on the autodiff backend: both gradients are products in bf16.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::{Bf16MatmulOps, Bf16Weight};

#[derive(Debug)]
struct Bf16Matmul;

#[derive(Debug, Clone)]
struct State<T> {
    /// In bf16, if the weight has a gradient.
    x: Option<T>,
    weight: T,
    packed: Bf16Weight,
}

impl<B: Bf16MatmulOps> Backward<B, 2> for Bf16Matmul {
    type State = State<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let State { x, weight, packed } = ops.state;
        let grad = B::rounded_to_bf16(grads.consume::<B>(&ops.node));
        let [of_x, of_weight] = ops.parents;
        if let Some(node) = of_x {
            let grad = B::bf16_matmul_row_grad(grad.clone(), weight, packed);
            grads.register::<B>(node.id, grad);
        }
        if let Some((node, x)) = of_weight.zip(x) {
            grads.register::<B>(node.id, B::bf16_matmul_weight_grad(x, grad));
        }
    }
}

impl<B: Bf16MatmulOps, C: CheckpointStrategy> Bf16MatmulOps for Autodiff<B, C> {
    fn bf16_matmul(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: Bf16Weight,
    ) -> FloatTensor<Self> {
        let is_weight_tracked = weight.is_tracked();
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let x = B::rounded_to_bf16(x);
        let out = B::bf16_matmul_rounded(x.clone(), weight.clone(), packed.clone());
        let prep = Bf16Matmul.prepare::<C>([x_node, weight_node]);
        match prep.compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = is_weight_tracked.then_some(x);
                prep.finish(State { x, weight, packed }, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
