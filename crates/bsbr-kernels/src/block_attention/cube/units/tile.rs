//! Keys and values of a block in shared memory, 64 at a time.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::attend::HIDDEN;
use super::super::listed::Seen;
use super::{KEY_PAD, KEYS, LINE, Pair, UNITS, VALUE_PAD};

/// A part of the keys, in the layout of the matrix units.
#[derive(CubeType)]
pub(super) struct Tile<F: Float> {
    /// Two numbers of a key together, key by key.
    pub keys: Shared<[Pair<F>]>,
    /// The same number of two values together, pair by pair.
    pub values: Shared<[Pair<F>]>,
    /// The bias of scores.
    pub bias: Shared<[f32]>,
}

/// Pairs of a row of keys.
pub(super) const fn key_row(d: usize) -> usize {
    d / 2 + KEY_PAD
}

/// Pairs of a row of values.
pub(super) const fn value_row(d: usize) -> usize {
    d + VALUE_PAD
}

#[cube]
impl<F: Float> Tile<F> {
    /// Room for a tile.
    pub fn new(#[comptime] d: usize) -> Self {
        Tile::<F> {
            keys: Shared::<[Pair<F>]>::new_slice(comptime!(KEYS * key_row(d))),
            values: Shared::<[Pair<F>]>::new_slice(comptime!(KEYS / 2 * value_row(d))),
            bias: Shared::<[f32]>::new_slice(KEYS),
        }
    }

    /// Stores a unit's lines of every key.
    pub fn store_keys<N: Size>(&mut self, all: &Array<Vector<F, N>>, #[comptime] d: usize) {
        let lines = comptime!(d / LINE);
        #[unroll]
        for i in 0..comptime!(KEYS * d / LINE / UNITS) {
            let item = UNIT_POS_X as usize + i * UNITS;
            let (own, line) = (item / lines, item % lines);
            let numbers = all[i];
            let at = own * comptime!(key_row(d)) + 2 * line;
            self.keys[at] = pair_of::<F>(numbers.extract(0usize), numbers.extract(1usize));
            self.keys[at + 1] = pair_of::<F>(numbers.extract(2usize), numbers.extract(3usize));
        }
    }

    /// Stores a unit's lines of values, `low` of even and `high` of odd ones.
    pub fn store_values<N: Size>(
        &mut self,
        low: &Array<Vector<F, N>>,
        high: &Array<Vector<F, N>>,
        #[comptime] d: usize,
    ) {
        let lines = comptime!(d / LINE);
        #[unroll]
        for i in 0..comptime!(KEYS / 2 * d / LINE / UNITS) {
            let item = UNIT_POS_X as usize + i * UNITS;
            let (own, line) = (item / lines, item % lines);
            let (low, high) = (low[i], high[i]);
            #[unroll]
            for at in 0..LINE {
                self.values[own * comptime!(value_row(d)) + LINE * line + at] =
                    pair_of::<F>(low.extract(at), high.extract(at));
            }
        }
    }

    /// ln m of clusters, and the mask of missing keys.
    pub fn store_bias(&mut self, bias: &Tensor<f32>, seen: &Seen, start: usize) {
        let unit = UNIT_POS_X as usize;
        if unit < KEYS {
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

    /// Stores a state as values.
    pub fn store_state<N: Size>(
        &mut self,
        states: &Tensor<Vector<f32, N>>,
        index: usize,
        #[comptime] d: usize,
    ) {
        let lines = comptime!(d / LINE);
        let first = index * comptime!(d * d / LINE);
        let mut item = UNIT_POS_X as usize;
        while item < comptime!(d / 2 * d / LINE) {
            let (own, line) = (item / lines, item % lines);
            let low = states[first + 2 * own * lines + line];
            let high = states[first + (2 * own + 1) * lines + line];
            #[unroll]
            for at in 0..LINE {
                self.values[own * comptime!(value_row(d)) + LINE * line + at] = pair_of::<F>(
                    F::cast_from(low.extract(at)),
                    F::cast_from(high.extract(at)),
                );
            }
            item += UNITS;
        }
    }
}

/// Two numbers in one register.
#[cube]
pub(super) fn pair_of<F: Float>(low: F, high: F) -> Pair<F> {
    let mut pair = Pair::<F>::new(F::new(0.0));
    pair.insert(0usize, low);
    pair.insert(1usize, high);
    pair
}

/// A unit's lines of a tile of keys or values: every `step`-th row from `from` on. They are from
/// the window, sinks or clusters, or zeros. If a tile has only one kind, as most have, its reads
/// are independent and can overlap.
#[cube]
pub(super) fn load_lines<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    of_clusters: &Tensor<Vector<f32, N>>,
    seen: &Seen,
    start: usize,
    #[comptime] step: usize,
    #[comptime] from: usize,
    #[comptime] d: usize,
) -> Array<Vector<F, N>> {
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let unit = UNIT_POS_X as usize;
    let lines = comptime!(d / LINE);
    let count = comptime!(KEYS / step * d / LINE / UNITS);
    let x_head = row * x.stride(0) + head * x.stride(1);
    let of_token = x.stride(2);
    let mut all = Array::<Vector<F, N>>::new(count);
    if start + KEYS <= seen.window {
        #[unroll]
        for i in 0..count {
            let item = unit + i * UNITS;
            let key = start + item / lines * step + from;
            all[i] = x[(x_head + (seen.near + key) * of_token) / LINE + item % lines];
        }
    } else if start >= seen.exact && start + KEYS <= seen.total {
        #[unroll]
        for i in 0..count {
            let item = unit + i * UNITS;
            let key = start + item / lines * step + from;
            let cluster = (seen.first_cluster + key - seen.exact) * lines;
            all[i] = Vector::<F, N>::cast_from(of_clusters[cluster + item % lines]);
        }
    } else {
        #[unroll]
        for i in 0..count {
            let item = unit + i * UNITS;
            let (key, line) = (start + item / lines * step + from, item % lines);
            // Unused reads use a valid address.
            let mut token = seen.near + key;
            if key >= seen.window {
                token = min(key - seen.window, seen.near);
            }
            let exactly = x[(x_head + token * of_token) / LINE + line];
            let mut cluster = 0usize;
            if key >= seen.exact && key < seen.total {
                cluster = seen.first_cluster + key - seen.exact;
            }
            let summarised = Vector::<F, N>::cast_from(of_clusters[cluster * lines + line]);
            let mut numbers = Vector::<F, N>::cast_from(0.0f32);
            if key < seen.exact {
                numbers = exactly;
            } else if key < seen.total {
                numbers = summarised;
            }
            all[i] = numbers;
        }
    }
    all
}
