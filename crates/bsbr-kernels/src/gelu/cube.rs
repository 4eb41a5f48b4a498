//! One pass on devices with CubeCL kernels, in `f32` whatever the elements.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{CUBIC, GeluOps, SQRT_2_OVER_PI, portable};
use crate::cube::{cube_index, cubes, elements, room, rows, tensor};

/// Units of a cube.
const UNITS: usize = 128;

/// Elements per unit, so that several reads overlap.
const EACH: usize = 4;

impl GeluOps for Cube {
    fn gelu_new(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match activated(&x, None) {
            Some(out) => out,
            None => portable::forward::<Self>(x),
        }
    }
}

/// GELU of `x`, and of `x` plus a bias for each column.
pub(crate) fn activated(
    x: &FloatTensor<Cube>,
    bias: Option<&FloatTensor<Cube>>,
) -> Option<FloatTensor<Cube>> {
    let with_bias = bias.is_some();
    // Without a bias, its placeholder is not read.
    let [x, bias] = rows([x, bias.unwrap_or(x)])?;
    let out = room(&x, x.shape(), x.dtype);
    let numbers = x.shape().num_elements();
    gelu_kernel::launch(
        &x.client,
        cubes(numbers.div_ceil(UNITS * EACH)),
        CubeDim::new_1d(UNITS as u32),
        x.clone().into_tensor_arg(),
        bias.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        numbers as u32,
        bias.shape().num_elements() as u32,
        with_bias,
        elements(x.dtype),
    );
    tensor(out)
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn gelu_kernel<F: Float>(
    x: &Tensor<F>,
    bias: &Tensor<F>,
    out: &mut Tensor<F>,
    numbers: u32,
    columns: u32,
    #[comptime] with_bias: bool,
    #[define(F)] _dtype: ElemType,
) {
    let first = cube_index() * comptime!(UNITS * EACH) + UNIT_POS_X as usize;
    #[unroll]
    for i in 0..EACH {
        let at = first + i * UNITS;
        if at < numbers as usize {
            let mut own = f32::cast_from(x[at]);
            if comptime!(with_bias) {
                own += f32::cast_from(bias[at % columns as usize]);
            }
            let inner = comptime!(SQRT_2_OVER_PI as f32)
                * (own + comptime!(CUBIC as f32) * own * own * own);
            out[at] = F::cast_from(0.5f32 * own * (1.0f32 + inner.tanh()));
        }
    }
}
