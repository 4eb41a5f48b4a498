//! The operations on the Flex backend: one pass in place, rows on all threads.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Shape;
use rayon::prelude::*;

use super::BiasOps;
use crate::cpu::math::vectorised;
use crate::cpu::tensor::{contiguous, elements, is_f32, update};
use crate::gelu::{GeluOps, activated};

/// Approximate number of elements per task.
const CHUNK: usize = 16 * 1024;

impl BiasOps for Flex {
    fn add_bias(x: FlexTensor, bias: FlexTensor) -> FlexTensor {
        if !(is_f32(&x) && is_f32(&bias)) {
            return plain(x, bias);
        }
        by_rows(
            x,
            bias,
            #[inline(always)]
            |x| x,
        )
    }

    fn add_bias_gelu(x: FlexTensor, bias: FlexTensor) -> FlexTensor {
        if !(is_f32(&x) && is_f32(&bias)) {
            return Self::gelu_new(plain(x, bias));
        }
        by_rows(x, bias, activated)
    }
}

fn plain(x: FlexTensor, bias: FlexTensor) -> FlexTensor {
    let columns = bias.layout().num_elements();
    Flex::float_add(x, bias.reshape(Shape::from([1, columns])))
}

/// `then(x + bias)`.
fn by_rows(x: FlexTensor, bias: FlexTensor, then: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    let bias = contiguous(bias);
    let bias = elements(&bias);
    if bias.is_empty() {
        return x;
    }
    let rows = (CHUNK / bias.len()).max(1);
    update(x, |x| {
        x.par_chunks_mut(rows * bias.len()).for_each(|x| {
            vectorised(
                #[inline(always)]
                || {
                    for row in x.chunks_exact_mut(bias.len()) {
                        for (x, bias) in row.iter_mut().zip(bias) {
                            *x = then(*x + bias);
                        }
                    }
                },
            );
        });
    })
}
