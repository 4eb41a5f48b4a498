//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::kernel::Problem;
use super::{LinearCrossEntropyOps, portable};
use crate::bf16_matmul::Bf16Weight;
use crate::cpu::tensor::{contiguous, dense, elements, indices, is_f32, update};

impl LinearCrossEntropyOps for Flex {
    fn linear_cross_entropy(
        hidden: FlexTensor,
        head: FlexTensor,
        targets: FlexTensor,
        weights: FlexTensor,
    ) -> FlexTensor {
        if ![&hidden, &head, &weights].into_iter().all(is_f32) {
            return portable::loss::<Self>(hidden, head, targets, weights);
        }
        let [hidden, head, weights] = [hidden, head, weights].map(contiguous);
        let targets = indices(targets, head.layout().shape()[0]);
        let loss = problem(&hidden, &head, &targets, &weights).loss();
        dense(vec![loss], [1])
    }

    fn linear_cross_entropy_with_grads(
        hidden: FlexTensor,
        head: FlexTensor,
        targets: FlexTensor,
        weights: FlexTensor,
        head_grad: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if ![&hidden, &head, &weights].into_iter().all(is_f32) {
            return portable::with_grads::<Self>(hidden, head, targets, weights, head_grad);
        }
        let [hidden, head, weights] = [hidden, head, weights].map(contiguous);
        let targets = indices(targets, head.layout().shape()[0]);
        let problem = problem(&hidden, &head, &targets, &weights);
        tensors(&problem, problem.loss_and_grads(head_grad))
    }

    fn linear_cross_entropy_bf16_with_grads(
        hidden: FlexTensor,
        head: FlexTensor,
        targets: FlexTensor,
        weights: FlexTensor,
        head_grad: bool,
        packed: Bf16Weight,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let layers = packed.layers();
        let (true, Some(layers)) = ([&hidden, &head, &weights].into_iter().all(is_f32), layers)
        else {
            let [hidden, head] = [hidden, head].map(portable::rounded::<Self>);
            return Self::linear_cross_entropy_with_grads(
                hidden, head, targets, weights, head_grad,
            );
        };
        let [hidden, head, weights] = [hidden, head, weights].map(contiguous);
        let targets = indices(targets, head.layout().shape()[0]);
        let problem = problem(&hidden, &head, &targets, &weights);
        tensors(&problem, problem.loss_and_grads_in_bf16(layers, head_grad))
    }

    fn scaled_by(x: FlexTensor, factor: FlexTensor) -> FlexTensor {
        if !(is_f32(&x) && is_f32(&factor)) {
            return portable::scaled_by::<Self>(x, factor);
        }
        let factor = elements(&factor)[0];
        if factor == 1.0 {
            return x;
        }
        update(x, |x| {
            x.par_chunks_mut(1 << 16).for_each(|chunk| {
                for x in chunk {
                    *x *= factor;
                }
            });
        })
    }
}

/// The loss and its gradients as tensors.
fn tensors(
    problem: &Problem<'_>,
    (loss, dhidden, dhead): (f32, Vec<f32>, Vec<f32>),
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (rows, features) = (problem.targets.len(), problem.features);
    let classes = dhead.len() / features.max(1);
    (
        dense(vec![loss], [1]),
        dense(dhidden, [rows, features]),
        dense(dhead, [classes, features]),
    )
}

fn problem<'a>(
    hidden: &'a FlexTensor,
    head: &'a FlexTensor,
    targets: &'a [usize],
    weights: &'a FlexTensor,
) -> Problem<'a> {
    Problem {
        hidden: elements(hidden),
        head: elements(head),
        targets,
        weights: elements(weights),
        features: head.layout().shape()[1],
    }
}
