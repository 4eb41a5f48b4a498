//! Rounding of rows to fewer bits, one unit per row. As on the host, it is computed in single
//! precision, whatever the type of the numbers.

use burn::backend::TensorMetadata;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::super::KvBits;
use super::super::rounding::reach;
use crate::cube::{cube_index, cubes, elements, room};

/// Units of a cube.
const UNITS: usize = 64;

/// Rows of the last of four dimensions rounded to [`KvBits`], in their own type; `None` for all
/// bits.
pub(super) fn rounded(x: &CubeTensor, bits: KvBits) -> Option<CubeTensor> {
    if bits == KvBits::ThirtyTwo {
        return None;
    }
    let shape = x.shape();
    let (rows, d) = (shape[0] * shape[1] * shape[2], shape[3]);
    let kept = room(x, shape, x.dtype);
    round_kernel::launch(
        &x.client,
        cubes(rows.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        x.clone().into_tensor_arg(),
        kept.clone().into_tensor_arg(),
        rows as u32,
        reach(bits),
        d,
        bits == KvBits::Four,
        elements(x.dtype),
    );
    Some(kept)
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn round_kernel<F: Float>(
    x: &Tensor<F>,
    kept: &mut Tensor<F>,
    rows: u32,
    reach: f32,
    #[comptime] d: usize,
    #[comptime] from_least: bool,
    #[define(F)] _dtype: ElemType,
) {
    let number = cube_index() * UNITS + UNIT_POS_X as usize;
    if number < rows as usize {
        let (tokens, heads) = (x.shape(2), x.shape(1));
        let (place, token) = (number / tokens, number % tokens);
        let (row, head) = (place / heads, place % heads);
        let from = row * x.stride(0) + head * x.stride(1) + token * x.stride(2);
        let first = f32::cast_from(x[from]);
        let mut most = first;
        let mut least = first;
        for dim in 1..d {
            let one = f32::cast_from(x[from + dim * x.stride(3)]);
            most = max(most, one);
            least = min(least, one);
        }
        let mut offset = f32::new(0.0);
        let mut scale = max(most, -least) / reach;
        if comptime!(from_least) {
            // Each separately, because their difference may be infinite.
            offset = least;
            scale = most / reach - least / reach;
        }
        // A scale that cannot be a divisor gives zero.
        let mut divisor = scale;
        if scale < f32::new(f32::MIN_POSITIVE) {
            divisor = f32::new(1.0);
            scale = f32::new(0.0);
        }
        let to = number * d;
        for dim in 0..d {
            let one = f32::cast_from(x[from + dim * x.stride(3)]);
            let code = ((one - offset) / divisor).round();
            kept[to + dim] = F::cast_from(offset + scale * code);
        }
    }
}
