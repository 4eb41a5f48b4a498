//! The operation on the Flex backend: one pass over the rows in each direction.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::{CrossEntropyOps, portable};
use crate::cpu::math::{exp, row_max, row_sum_exp, vectorised};
use crate::cpu::tensor::{contiguous, dense, elements, indices, is_f32, update};

impl CrossEntropyOps for Flex {
    fn cross_entropy_forward(
        logits: FlexTensor,
        targets: FlexTensor,
        weights: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        if !(is_f32(&logits) && is_f32(&weights)) {
            return portable::forward::<Self>(logits, targets, weights);
        }
        let [logits, weights] = [logits, weights].map(contiguous);
        let classes = logits.layout().shape()[1];
        let targets = indices(targets, classes);
        let rows = elements(&logits).par_chunks_exact(classes.max(1));
        let lse: Vec<f32> = rows
            .map(|row| {
                vectorised(
                    #[inline(always)]
                    || {
                        let max = row_max(row);
                        max + row_sum_exp(row, max).ln()
                    },
                )
            })
            .collect();
        let rows = elements(&logits).chunks_exact(classes.max(1)).zip(&targets);
        let terms = rows.zip(lse.iter().zip(elements(&weights)));
        // A row with weight zero adds nothing, whatever its logits.
        let loss: f64 = terms
            .filter(|(_, (_, weight))| **weight != 0.0)
            .map(|((row, &target), (lse, weight))| f64::from(weight * (lse - row[target])))
            .sum();
        let rows = lse.len();
        (dense(vec![loss as f32], [1]), dense(lse, [rows]))
    }

    fn cross_entropy_backward(
        logits: FlexTensor,
        targets: FlexTensor,
        weights: FlexTensor,
        lse: FlexTensor,
        grad: FlexTensor,
    ) -> FlexTensor {
        if ![&logits, &weights, &lse, &grad].into_iter().all(is_f32) {
            return portable::backward::<Self>(logits, targets, weights, lse, grad);
        }
        let [weights, lse] = [weights, lse].map(contiguous);
        let scale = elements(&grad)[0];
        let classes = logits.layout().shape()[1];
        let targets = indices(targets, classes);
        let row_grad = |out: &mut [f32], target: usize, lse: f32, weight: f32| {
            if weight == 0.0 {
                out.fill(0.0);
                return;
            }
            vectorised(
                #[inline(always)]
                || {
                    for x in &mut *out {
                        *x = exp(*x - lse) * weight;
                    }
                },
            );
            out[target] -= weight;
        };
        update(logits, |logits| {
            let params = elements(&lse).par_iter().zip(elements(&weights));
            let rows = logits
                .par_chunks_exact_mut(classes.max(1))
                .zip(&targets)
                .zip(params);
            rows.for_each(|((out, &target), (lse, weight))| {
                row_grad(out, target, *lse, weight * scale);
            });
        })
    }
}
