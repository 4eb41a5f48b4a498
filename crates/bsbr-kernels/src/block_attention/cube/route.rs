//! The states that chunks read: weights by one kernel, and their product with the states.

use burn::backend::Cube;
use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use crate::cube::{UNITS, elements, highest, primitive, product, room, tensor, total};

/// Less than any score: finite, because WGSL has no infinity.
const LEAST: f32 = -1e30;

/// The mixtures for chunks with a far field, from the mean keys `[B, H, F, D]` and the states
/// `[B, H, F, D, D]` of far chunks: the weights `[B, H, F, F]`, and the mixed states
/// `[B, H, F, D, D]`.
pub(super) fn mix(
    q: &CubeTensor,
    means: &CubeTensor,
    states: FloatTensor<Cube>,
    settings: &BlockAttention,
    scale: f32,
) -> Option<(CubeTensor, CubeTensor)> {
    let shape = states.shape();
    let [b, h, far, d] = [shape[0], shape[1], shape[2], shape[3]];
    let weights = room(q, [b, h, far, far], DType::F32);
    // There are as many tail chunks as far chunks: each far chunk is the newest for one of them.
    // Its receiver is the query of the last token before the tail chunk.
    let size = settings.grid.chunk_size;
    let first = settings.grid.far_from(0) - 1;
    weigh_kernel::launch(
        &q.client,
        CubeCount::Static(far as u32, h as u32, b as u32),
        CubeDim::new_1d(UNITS as u32),
        q.clone().into_tensor_arg(),
        means.clone().into_tensor_arg(),
        weights.clone().into_tensor_arg(),
        scale,
        first as u32,
        size as u32,
        d,
        elements(q.dtype),
    );
    let of_weights = tensor(weights.clone())?;
    let states = Cube::float_reshape(states, Shape::from([b, h, far, d * d]));
    let mixed = match product(&of_weights, &states) {
        Some(mixed) => mixed,
        None => Cube::float_matmul(of_weights, states),
    };
    let mixed = Cube::float_reshape(mixed, Shape::from([b, h, far, d, d]));
    Some((weights, primitive(&mixed)?))
}

/// The softmax of scale · r·h over the far chunks of each tail chunk, where r is its receiver and h
/// are their mean keys, followed by zeros.
#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn weigh_kernel<F: Float>(
    q: &Tensor<F>,
    means: &Tensor<f32>,
    weights: &mut Tensor<f32>,
    scale: f32,
    first: u32,
    size: u32,
    #[comptime] d: usize,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let (row, head, own) = (
        CUBE_POS_Z as usize,
        CUBE_POS_Y as usize,
        CUBE_POS_X as usize,
    );
    let far = CUBE_COUNT_X as usize;
    let place = row * CUBE_COUNT_Y as usize + head;
    let token = first as usize + own * size as usize;
    let asks = row * q.stride(0) + head * q.stride(1) + token * q.stride(2);
    let mut shared = Shared::<[f32]>::new_slice(UNITS);

    let weights_row = (place * far + own) * far;
    let mut most = f32::new(LEAST);
    let mut chunk = unit;
    while chunk < far {
        let mut score = f32::new(LEAST);
        if chunk <= own {
            let mut sum = f32::new(0.0);
            for dim in 0..d {
                let x = f32::cast_from(q[asks + dim * q.stride(3)]);
                sum += x * means[(place * far + chunk) * d + dim];
            }
            score = sum * scale;
            most = max(most, score);
        }
        weights[weights_row + chunk] = score;
        chunk += UNITS;
    }
    let most = highest(most, &mut shared);

    let mut sum = f32::new(0.0);
    let mut chunk = unit;
    while chunk <= own {
        sum += (weights[weights_row + chunk] - most).exp();
        chunk += UNITS;
    }
    let share = 1.0f32 / total(sum, &mut shared);
    let mut chunk = unit;
    while chunk < far {
        let mut weight = f32::new(0.0);
        if chunk <= own {
            weight = (weights[weights_row + chunk] - most).exp() * share;
        }
        weights[weights_row + chunk] = weight;
        chunk += UNITS;
    }
}
