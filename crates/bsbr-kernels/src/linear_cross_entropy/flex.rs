//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::kernel::Problem;
use super::{LinearCrossEntropyOps, portable};
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
        let (loss, dhidden, dhead) = problem.loss_and_grads(head_grad);
        let (rows, features) = (targets.len(), head.layout().shape()[1]);
        let classes = if head_grad {
            head.layout().shape()[0]
        } else {
            0
        };
        (
            dense(vec![loss], [1]),
            dense(dhidden, [rows, features]),
            dense(dhead, [classes, features]),
        )
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
