//! The passes on the Flex backend; Burn's own forward pass is fused.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::ModuleOps;
use rayon::prelude::*;

use super::{LayerNormOps, portable};
use crate::cpu::math::{LANES, row_sum, row_sum_sq_diff, sum_lanes, vectorised};
use crate::cpu::tensor::{contiguous, dense, elements, is_f32, update};

/// Rows per task, and per partial sum of the gradients of gamma and beta.
const ROWS: usize = 64;

impl LayerNormOps for Flex {
    fn layer_norm_fused(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        if ![&x, &gamma, &beta].into_iter().all(is_f32) {
            return portable::forward::<Self>(x, gamma, beta, epsilon);
        }
        let [x, beta] = [x, beta].map(contiguous);
        let out = Self::layer_norm(x.clone(), gamma, Some(beta.clone()), epsilon);
        let columns = elements(&beta).len().max(1);
        update(out, |out| {
            let rows = elements(&x).chunks_exact(columns);
            for (x, out) in rows.zip(out.chunks_exact_mut(columns)) {
                // With an infinite deviation, only beta would remain of a row.
                if out[0] == elements(&beta)[0] && !has_variance(x) {
                    out.fill(f32::NAN);
                }
            }
        })
    }

    fn layer_norm_fused_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        grad: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if ![&x, &gamma, &grad].into_iter().all(is_f32) {
            return portable::backward::<Self>(x, gamma, grad, epsilon);
        }
        let [x, gamma] = [x, gamma].map(contiguous);
        let gamma = elements(&gamma);
        let c = gamma.len();
        let rows = ROWS * c.max(1);
        let mut partial: Vec<Vec<f32>> = Vec::new();
        let dx = update(grad, |grad| {
            let chunks = grad.par_chunks_mut(rows).zip(elements(&x).par_chunks(rows));
            let sums = chunks.map(|(grad, x)| {
                let mut sums = vec![0.0; 2 * c];
                let (dgamma, dbeta) = sums.split_at_mut(c);
                vectorised(
                    #[inline(always)]
                    || backward(x, gamma, epsilon as f32, [grad, dgamma, dbeta]),
                );
                sums
            });
            sums.collect_into_vec(&mut partial);
        });
        let mut sums = vec![0.0; 2 * c];
        for part in &partial {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += x;
            }
        }
        let dbeta = sums.split_off(c);
        (dx, dense(sums, [c]), dense(dbeta, [c]))
    }
}

/// Whether the squares in the variance of a row fit into `f32`.
#[cold]
fn has_variance(row: &[f32]) -> bool {
    let row = row.iter().map(|&x| f64::from(x));
    let mean = row.clone().sum::<f64>() / row.len() as f64;
    let squares: f64 = row.map(|x| (x - mean) * (x - mean)).sum();
    // A rounded sum may become infinite slightly earlier.
    squares < 0.999 * f64::from(f32::MAX)
}

/// Mean of a row, and the inverse of its standard deviation.
#[inline(always)]
fn statistics(row: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = row_sum(row) / row.len() as f32;
    let variance = row_sum_sq_diff(row, mean) / row.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// Replaces the gradient of the output by that of the input, and sums those of
/// gamma and beta.
#[inline(always)]
fn backward(x: &[f32], gamma: &[f32], epsilon: f32, [grad, dgamma, dbeta]: [&mut [f32]; 3]) {
    let c = gamma.len();
    for (x, grad) in x.chunks_exact(c).zip(grad.chunks_exact_mut(c)) {
        let (mean, inverse) = statistics(x, epsilon);
        let [sum, along] = weighted_sums(x, gamma, grad, mean);
        let (sum, along) = (sum / c as f32, along * inverse / c as f32);
        let params = gamma.iter().zip(dgamma.iter_mut()).zip(dbeta.iter_mut());
        for ((x, grad), ((gamma, dgamma), dbeta)) in x.iter().zip(grad).zip(params) {
            let normal = (x - mean) * inverse;
            *dgamma += *grad * normal;
            *dbeta += *grad;
            *grad = inverse * (*grad * gamma - sum - normal * along);
        }
    }
}

/// Sums of `grad · gamma` and of `grad · gamma · (x - mean)` over a row.
#[inline(always)]
fn weighted_sums(x: &[f32], gamma: &[f32], grad: &[f32], mean: f32) -> [f32; 2] {
    let (mut plain, mut along) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (gammas, gamma_rest) = gamma.as_chunks::<LANES>();
    let (grads, grad_rest) = grad.as_chunks::<LANES>();
    for ((x, gamma), grad) in xs.iter().zip(gammas).zip(grads) {
        for i in 0..LANES {
            let g = grad[i] * gamma[i];
            plain[i] += g;
            along[i] += g * (x[i] - mean);
        }
    }
    let mut sums = [sum_lanes(plain), sum_lanes(along)];
    for ((x, gamma), grad) in x_rest.iter().zip(gamma_rest).zip(grad_rest) {
        sums[0] += grad * gamma;
        sums[1] += grad * gamma * (x - mean);
    }
    sums
}
