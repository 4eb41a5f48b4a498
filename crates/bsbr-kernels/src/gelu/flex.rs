//! The operation on the Flex backend: one vectorised pass, in chunks on all threads, in
//! place if the input is not shared.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::{CUBIC, GeluOps, SQRT_2_OVER_PI, portable};
use crate::cpu::math::{exp, vectorised};
use crate::cpu::tensor::{contiguous, dense, elements, is_f32, update};

/// Elements per task.
const CHUNK: usize = 16 * 1024;

impl GeluOps for Flex {
    fn gelu_new(x: FlexTensor) -> FlexTensor {
        if !is_f32(&x) {
            return portable::forward::<Self>(x);
        }
        let x = contiguous(x);
        if x.is_unique() {
            // The system would have to map and clear a new buffer of this size.
            return update(x, |x| {
                x.par_chunks_mut(CHUNK).for_each(|x| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for x in x {
                                *x = activated(*x);
                            }
                        },
                    );
                });
            });
        }
        let mut out = vec![0.0; elements(&x).len()];
        let chunks = out
            .par_chunks_mut(CHUNK)
            .zip(elements(&x).par_chunks(CHUNK));
        chunks.for_each(|(out, x)| {
            vectorised(
                #[inline(always)]
                || forward(x, out),
            );
        });
        dense(out, x.layout().shape().clone())
    }

    fn gelu_new_backward(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        if !(is_f32(&x) && is_f32(&grad)) {
            return portable::backward::<Self>(x, grad);
        }
        let x = contiguous(x);
        update(grad, |grad| {
            let chunks = grad.par_chunks_mut(CHUNK);
            chunks
                .zip(elements(&x).par_chunks(CHUNK))
                .for_each(|(grad, x)| {
                    vectorised(
                        #[inline(always)]
                        || backward(x, grad),
                    );
                });
        })
    }
}

// 0.5 (1 + tanh u) is the logistic function of 2u, without the cancellation.

/// -2u = -2 √(2/π) (x + 0.044715 x³).
#[inline(always)]
fn minus_two_u(x: f32) -> f32 {
    const A: f32 = (-2.0 * SQRT_2_OVER_PI) as f32;
    const B: f32 = (-2.0 * SQRT_2_OVER_PI * CUBIC) as f32;
    x * (A + B * (x * x))
}

/// GELU of a number.
#[inline(always)]
pub(crate) fn activated(x: f32) -> f32 {
    x / (1.0 + exp(minus_two_u(x)))
}

#[inline(always)]
fn forward(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = activated(x);
    }
}

#[inline(always)]
fn backward(x: &[f32], grad: &mut [f32]) {
    const A: f32 = (2.0 * SQRT_2_OVER_PI) as f32;
    const B: f32 = (6.0 * SQRT_2_OVER_PI * CUBIC) as f32;
    for (grad, &x) in grad.iter_mut().zip(x) {
        // Past ±12 the derivative is 0 or 1; the cap keeps its factors finite.
        let x = if x < -12.0 { -12.0 } else { x };
        let x = if x > 12.0 { 12.0 } else { x };
        let z = minus_two_u(x);
        let e = exp(if z > 83.0 { 83.0 } else { z });
        let p = 1.0 / (1.0 + e);
        // p (1 - p) = p · e p
        let slope = p + x * (A + B * (x * x)) * (p * (e * p));
        *grad = if z > 83.0 { 0.0 } else { *grad * slope };
    }
}
