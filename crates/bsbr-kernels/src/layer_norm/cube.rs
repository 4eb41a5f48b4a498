//! One pass on devices with CubeCL kernels, one cube of units per row, in `f32` whatever
//! the elements.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{LayerNormOps, portable};
use crate::cube::{UNITS, cube_index, cubes, elements, room, rows, tensor, total};

/// The maximum number of features that the units of a cube keep in registers.
const WIDEST: usize = 64 * UNITS;

impl LayerNormOps for Cube {
    fn layer_norm_fused(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        match forward([&x, &gamma, &beta], epsilon) {
            Some(out) => out,
            None => portable::forward::<Self>(x, gamma, beta, epsilon),
        }
    }
}

fn forward(inputs: [&FloatTensor<Cube>; 3], epsilon: f64) -> Option<FloatTensor<Cube>> {
    let [x, gamma, beta] = rows(inputs)?;
    let columns = gamma.shape().num_elements();
    if columns > WIDEST {
        return None;
    }
    let out = room(&x, x.shape(), x.dtype);
    let count = x.shape().num_elements() / columns;
    layer_norm_kernel::launch(
        &x.client,
        cubes(count),
        CubeDim::new_1d(UNITS as u32),
        x.clone().into_tensor_arg(),
        gamma.into_tensor_arg(),
        beta.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        count as u32,
        epsilon as f32,
        columns,
        elements(x.dtype),
    );
    tensor(out)
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn layer_norm_kernel<F: Float>(
    x: &Tensor<F>,
    gamma: &Tensor<F>,
    beta: &Tensor<F>,
    out: &mut Tensor<F>,
    rows: u32,
    epsilon: f32,
    #[comptime] columns: usize,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    // Cubes without a row repeat the last one.
    let row = min(cube_index(), rows as usize - 1) * columns;
    let each = comptime!(columns.div_ceil(UNITS));
    let mut own = Array::<f32>::new(each);
    let mut shared = Shared::<[f32]>::new_slice(UNITS);

    let mut sum = f32::new(0.0);
    #[unroll]
    for i in 0..each {
        let column = unit + i * UNITS;
        let mut number = f32::new(0.0);
        if column < columns {
            number = f32::cast_from(x[row + column]);
        }
        own[i] = number;
        sum += number;
    }
    let share = comptime!(1.0 / columns as f32);
    let mean = total(sum, &mut shared) * share;
    let mut squares = f32::new(0.0);
    #[unroll]
    for i in 0..each {
        if unit + i * UNITS < columns {
            let centred = own[i] - mean;
            squares += centred * centred;
        }
    }
    let variance = total(squares, &mut shared) * share;
    let scale = 1.0f32 / (variance + epsilon).sqrt();
    #[unroll]
    for i in 0..each {
        let column = unit + i * UNITS;
        if column < columns {
            let normal = (own[i] - mean) * scale * f32::cast_from(gamma[column]);
            out[row + column] = F::cast_from(normal + f32::cast_from(beta[column]));
        }
    }
}
