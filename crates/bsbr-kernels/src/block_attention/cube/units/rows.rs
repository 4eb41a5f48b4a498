//! Queries, scores and sums in the registers of a plane.
//!
//! A unit has parts of the rows `group` and `group + 8` of each matrix, and of the columns 2 · quad
//! and the next.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::cmma::MmaDefinition;
use burn_cubecl::cubecl::prelude::*;

use super::super::attend::HIDDEN;
use super::super::listed::Seen;
use super::tile::{Tile, key_row, pair_of, value_row};
use super::{DEEP, HIGH, KEYS, PLANE, Pair, Registers, TWICE, WIDE};

/// Columns of scores, in matrices.
const COLUMNS: usize = KEYS / WIDE;

/// Rows of a unit.
const ROWS: usize = 2 * TWICE;

/// The state of a unit's rows.
#[derive(CubeType)]
pub(super) struct Weighed {
    /// The highest score.
    pub most: Array<f32>,
    /// The sum of all weights.
    pub norm: Array<f32>,
    /// The sum of the weights of clusters.
    pub mass: Array<f32>,
}

#[cube]
impl Weighed {
    /// The initial state.
    pub fn new() -> Self {
        let mut most = Array::<f32>::new(ROWS);
        let mut norm = Array::<f32>::new(ROWS);
        let mut mass = Array::<f32>::new(ROWS);
        #[unroll]
        for at in 0..ROWS {
            most[at] = f32::new(HIDDEN);
            norm[at] = f32::new(0.0);
            mass[at] = f32::new(0.0);
        }
        Weighed { most, norm, mass }
    }

    /// Sums the parts of the four units of a row.
    pub fn of_all_columns(&mut self) {
        #[unroll]
        for at in 0..ROWS {
            self.norm[at] += plane_shuffle_xor(self.norm[at], 1u32);
            self.norm[at] += plane_shuffle_xor(self.norm[at], 2u32);
            self.mass[at] += plane_shuffle_xor(self.mass[at], 1u32);
            self.mass[at] += plane_shuffle_xor(self.mass[at], 2u32);
        }
    }
}

#[cube]
fn group() -> usize {
    UNIT_POS_X as usize % PLANE / 4
}

#[cube]
fn quad() -> usize {
    UNIT_POS_X as usize % 4
}

/// The query of a unit's first row; the others are 8 further each.
#[cube]
fn first_row(first: usize) -> usize {
    first + UNIT_POS_X as usize / PLANE * comptime!(TWICE * HIGH) + group()
}

/// Matrices of zeros.
#[cube]
pub(super) fn zeros(#[comptime] count: usize) -> Sequence<Registers<f32>> {
    let mut all = Sequence::<Registers<f32>>::new();
    #[unroll]
    for _ in 0..count {
        let mut one = Registers::<f32>::new(2usize);
        one[0] = Pair::<f32>::new(0.0f32);
        one[1] = Pair::<f32>::new(0.0f32);
        all.push(one);
    }
    all
}

/// The queries of a plane. Rows without one repeat the last, and their results are not written.
#[cube]
pub(super) fn take_queries<F: Float>(
    q: &Tensor<F>,
    first: usize,
    end: usize,
    #[comptime] d: usize,
) -> Sequence<Registers<F>> {
    let q_head = CUBE_POS_Z as usize * q.stride(0) + CUBE_POS_Y as usize * q.stride(1);
    let first_row = first_row(first);
    let mut all = Sequence::<Registers<F>>::new();
    #[unroll]
    for high in 0..TWICE {
        #[unroll]
        for i in 0..comptime!(d / DEEP) {
            let mut part = Registers::<F>::new(4usize);
            #[unroll]
            for at in 0..4usize {
                let below = comptime!(at % 2 * 8 + high * HIGH);
                let query = min(first_row + below, end - 1);
                let dim = comptime!(i * DEEP + at / 2 * 8) + 2 * quad();
                let from = q_head + query * q.stride(2) + dim * q.stride(3);
                part[at] = pair_of::<F>(q[from], q[from + q.stride(3)]);
            }
            all.push(part);
        }
    }
    all
}

/// Products of a plane's queries with the keys of a tile.
#[cube]
pub(super) fn multiply<F: Float>(
    queries: &Sequence<Registers<F>>,
    tile: &Tile<F>,
    #[comptime] d: usize,
) -> Sequence<Registers<f32>> {
    let def = MmaDefinition::<F, F, f32>::new(HIGH, WIDE, DEEP);
    let deep = comptime!(d / DEEP);
    let mut scores = zeros(comptime!(TWICE * COLUMNS));
    #[unroll]
    for column in 0..COLUMNS {
        #[unroll]
        for i in 0..deep {
            let from = (column * WIDE + group()) * comptime!(key_row(d))
                + comptime!(i * DEEP / 2)
                + quad();
            let mut part = Registers::<F>::new(2usize);
            part[0] = tile.keys[from];
            part[1] = tile.keys[from + 4];
            #[unroll]
            for high in 0..TWICE {
                let score = scores.index_mut(comptime!(high * COLUMNS + column));
                let query = queries.index(comptime!(high * deep + i));
                def.execute_inplace(query, &part, score);
            }
        }
    }
    scores
}

/// Replaces scores by weights, and rescales the sums to the same highest score.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
#[allow(clippy::collapsible_if)] // the outer ones are the same for all units
pub(super) fn weigh(
    scores: &mut Sequence<Registers<f32>>,
    sums: &mut Sequence<Registers<f32>>,
    weighed: &mut Weighed,
    bias: &Shared<[f32]>,
    seen: &Seen,
    start: usize,
    first: usize,
    scale: f32,
    #[comptime] d: usize,
) {
    let wide = comptime!(d / WIDE);
    let reaches_clusters = start + KEYS > seen.exact;
    let has_window = start < seen.window;
    #[unroll]
    for high in 0..TWICE {
        #[unroll]
        for half in 0..2usize {
            let at = comptime!(2 * high + half);
            let query = first_row(first) + comptime!(high * HIGH + half * 8);
            let mut highest = weighed.most[at];
            #[unroll]
            for column in 0..COLUMNS {
                let score = scores.index_mut(comptime!(high * COLUMNS + column));
                let mut pair = score[half];
                #[unroll]
                for one in 0..2usize {
                    let place = column * WIDE + 2 * quad() + one;
                    let mut x = pair.extract(one) * scale + bias[place];
                    if has_window {
                        let key = start + place;
                        if key < seen.window && seen.near + key > query {
                            x = f32::new(HIDDEN);
                        }
                    }
                    highest = max(highest, x);
                    pair.insert(one, x);
                }
                score[half] = pair;
            }
            highest = max(highest, plane_shuffle_xor(highest, 1u32));
            highest = max(highest, plane_shuffle_xor(highest, 2u32));
            let kept = (weighed.most[at] - highest).exp();
            weighed.most[at] = highest;
            let mut all = f32::new(0.0);
            let mut of_clusters = f32::new(0.0);
            #[unroll]
            for column in 0..COLUMNS {
                let score = scores.index_mut(comptime!(high * COLUMNS + column));
                let mut pair = score[half];
                #[unroll]
                for one in 0..2usize {
                    let weight = (pair.extract(one) - highest).exp();
                    all += weight;
                    if reaches_clusters {
                        if start + column * WIDE + 2 * quad() + one >= seen.exact {
                            of_clusters += weight;
                        }
                    }
                    pair.insert(one, weight);
                }
                score[half] = pair;
            }
            weighed.norm[at] = weighed.norm[at] * kept + all;
            weighed.mass[at] = weighed.mass[at] * kept + of_clusters;
            #[unroll]
            for i in 0..wide {
                let sum = sums.index_mut(comptime!(high * wide + i));
                sum[half] *= Pair::<f32>::new(kept);
            }
        }
    }
}

/// Adds the weighted values of a tile.
#[cube]
pub(super) fn add_values<F: Float>(
    weights: &Sequence<Registers<f32>>,
    tile: &Tile<F>,
    sums: &mut Sequence<Registers<f32>>,
    #[comptime] d: usize,
) {
    let def = MmaDefinition::<F, F, f32>::new(HIGH, WIDE, DEEP);
    let wide = comptime!(d / WIDE);
    #[unroll]
    for step in 0..comptime!(KEYS / DEEP) {
        // The weights of two adjacent matrices form one of the depth of matrix units.
        let mut own = Sequence::<Registers<F>>::new();
        #[unroll]
        for high in 0..TWICE {
            let mut part = Registers::<F>::new(4usize);
            #[unroll]
            for at in 0..4usize {
                let weight = weights.index(comptime!(high * COLUMNS + 2 * step + at / 2));
                part[at] = Pair::<F>::cast_from(weight[comptime!(at % 2)]);
            }
            own.push(part);
        }
        #[unroll]
        for i in 0..wide {
            let part = rows_of::<F>(tile, step, i, d);
            #[unroll]
            for high in 0..TWICE {
                let sum = sums.index_mut(comptime!(high * wide + i));
                def.execute_inplace(own.index(high), &part, sum);
            }
        }
    }
}

/// Adds M · scale · q S, with the state S as values.
#[cube]
pub(super) fn add_states<F: Float>(
    queries: &Sequence<Registers<F>>,
    tile: &Tile<F>,
    weighed: &Weighed,
    sums: &mut Sequence<Registers<f32>>,
    scale: f32,
    #[comptime] d: usize,
) {
    let def = MmaDefinition::<F, F, f32>::new(HIGH, WIDE, DEEP);
    let (deep, wide) = comptime!((d / DEEP, d / WIDE));
    #[unroll]
    for i in 0..wide {
        let mut products = zeros(TWICE);
        #[unroll]
        for step in 0..deep {
            let part = rows_of::<F>(tile, step, i, d);
            #[unroll]
            for high in 0..TWICE {
                let query = queries.index(comptime!(high * deep + step));
                def.execute_inplace(query, &part, products.index_mut(high));
            }
        }
        #[unroll]
        for high in 0..TWICE {
            let sum = sums.index_mut(comptime!(high * wide + i));
            let product = products.index(high);
            #[unroll]
            for half in 0..2usize {
                let weight = weighed.mass[comptime!(2 * high + half)] * scale;
                sum[half] += product[half] * Pair::<f32>::new(weight);
            }
        }
    }
}

/// The `step`-th 16 values of a tile, in the `column`-th 8 dimensions.
#[cube]
fn rows_of<F: Float>(
    tile: &Tile<F>,
    #[comptime] step: usize,
    #[comptime] column: usize,
    #[comptime] d: usize,
) -> Registers<F> {
    let row = comptime!(value_row(d));
    let from = (comptime!(step * DEEP / 2) + quad()) * row + comptime!(column * WIDE) + group();
    let mut part = Registers::<F>::new(2usize);
    part[0] = tile.values[from];
    part[1] = tile.values[from + 4 * row];
    part
}

/// Writes outputs and log-sum-exps.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
pub(super) fn write<F: Float>(
    sums: &Sequence<Registers<f32>>,
    weighed: &Weighed,
    out: &mut Tensor<F>,
    lse: &mut Tensor<f32>,
    first: usize,
    end: usize,
    tokens: usize,
    #[comptime] d: usize,
) {
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let heads = CUBE_COUNT_Y as usize;
    let wide = comptime!(d / WIDE);
    #[unroll]
    for high in 0..TWICE {
        #[unroll]
        for half in 0..2usize {
            let at = comptime!(2 * high + half);
            let query = first_row(first) + comptime!(high * HIGH + half * 8);
            if query < end {
                let share = 1.0f32 / weighed.norm[at];
                let out_row = ((row * tokens + query) * heads + head) * d + 2 * quad();
                #[unroll]
                for i in 0..wide {
                    let sum = sums.index(comptime!(high * wide + i));
                    let pair = sum[half];
                    out[out_row + i * WIDE] = F::cast_from(pair.extract(0usize) * share);
                    out[out_row + i * WIDE + 1] = F::cast_from(pair.extract(1usize) * share);
                }
                if quad() == 0 {
                    lse[(row * heads + head) * tokens + query] =
                        weighed.most[at] + weighed.norm[at].ln();
                }
            }
        }
    }
}
