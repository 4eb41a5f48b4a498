//! The keys that the queries of a block see, in tiles in shared memory.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::attend::HIDDEN;

/// Numbers that are read together.
pub(super) type Four = Vector<f32, Const<4>>;

/// Shared memory for data that all units of a cube read, in bytes.
const SHARED: usize = 16 * 1024;

/// Rows of two vectors and `beside` numbers that fit into shared memory at a time: a multiple
/// of `step`, and at most the number of `units` that read them.
pub(super) fn tile(d: usize, beside: usize, step: usize, units: usize) -> usize {
    (SHARED / row_bytes(d, beside) / step * step).clamp(step, units)
}

/// Bytes of such a row.
pub(super) fn row_bytes(d: usize, beside: usize) -> usize {
    2 * 16 * d.div_ceil(4) + 4 * beside
}

/// The keys that the queries of a block see: a window of tokens, then sinks, then clusters.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Seen {
    /// First token of the window.
    pub near: usize,
    /// Tokens of the window; the last is the last query's own.
    pub window: usize,
    /// Window and sinks.
    pub exact: usize,
    /// Window, sinks and clusters.
    pub total: usize,
    /// The first of the head's clusters.
    pub first_cluster: usize,
}

/// Keys, values, and the bias of scores.
#[derive(CubeType)]
pub(super) struct Listed {
    /// Keys, by fours of numbers.
    pub keys: Shared<[Four]>,
    /// Values, likewise.
    pub values: Shared<[Four]>,
    /// ln m of clusters, and the mask of missing keys.
    pub bias: Shared<[f32]>,
}

#[cube]
impl Listed {
    /// Room for `tile` keys.
    pub fn new(#[comptime] tile: usize, #[comptime] d: usize) -> Self {
        let fours = comptime!(d.div_ceil(4));
        Listed {
            keys: Shared::<[Four]>::new_slice(comptime!(tile * fours)),
            values: Shared::<[Four]>::new_slice(comptime!(tile * fours)),
            bias: Shared::<[f32]>::new_slice(tile),
        }
    }

    /// Stores the keys from number `start` on, by all units of a cube of `units`.
    #[allow(clippy::too_many_arguments)] // what a kernel is given
    pub fn store<F: Float>(
        &mut self,
        k: &Tensor<F>,
        v: &Tensor<F>,
        keys: &Tensor<f32>,
        values: &Tensor<f32>,
        bias: &Tensor<f32>,
        seen: &Seen,
        start: usize,
        #[comptime] tile: usize,
        #[comptime] d: usize,
        #[comptime] units: usize,
    ) {
        let unit = UNIT_POS_X as usize;
        let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
        let k_head = row * k.stride(0) + head * k.stride(1);
        let v_head = row * v.stride(0) + head * v.stride(1);
        let fours = comptime!(d.div_ceil(4));
        let mut item = unit;
        while item < tile * fours {
            let (key, four) = (start + item / fours, item % fours);
            if key < seen.exact {
                let mut token = seen.near + key;
                if key >= seen.window {
                    token = key - seen.window;
                }
                self.keys[item] =
                    four_of::<F>(k, k_head + token * k.stride(2), k.stride(3), 4 * four, d);
                self.values[item] =
                    four_of::<F>(v, v_head + token * v.stride(2), v.stride(3), 4 * four, d);
            } else if key < seen.total {
                let cluster = (seen.first_cluster + key - seen.exact) * d;
                self.keys[item] = four_of::<f32>(keys, cluster, 1usize, 4 * four, d);
                self.values[item] = four_of::<f32>(values, cluster, 1usize, 4 * four, d);
            } else {
                self.keys[item] = Four::new(0.0);
                self.values[item] = Four::new(0.0);
            }
            item += units;
        }
        if unit < tile {
            let key = start + unit;
            let mut of_key = f32::new(0.0);
            if key >= seen.total {
                of_key = f32::new(HIDDEN);
            } else if key >= seen.exact {
                of_key = bias[seen.first_cluster + key - seen.exact];
            }
            self.bias[unit] = of_key;
        }
    }
}

/// Four numbers of a row from dimension `dim` on, followed by zeros beyond its end.
#[cube]
pub(super) fn four_of<F: Float>(
    x: &Tensor<F>,
    row: usize,
    stride: usize,
    dim: usize,
    #[comptime] d: usize,
) -> Four {
    let mut four = Four::new(0.0);
    #[unroll]
    for i in 0..4usize {
        if dim + i < d {
            four.insert(i, f32::cast_from(x[row + (dim + i) * stride]));
        }
    }
    four
}

/// The sum of four numbers.
#[cube]
pub(super) fn sum_of(four: Four) -> f32 {
    four.extract(0usize) + four.extract(1usize) + four.extract(2usize) + four.extract(3usize)
}
