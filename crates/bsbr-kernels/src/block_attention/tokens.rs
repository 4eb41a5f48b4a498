//! Tokens of far chunks, cluster by cluster, as queries look them up.

use std::ops::Range;

use super::kept::Grids;
use super::rounding::round_rows;
use super::settings::KvBits;
use super::tile::BEHIND;
use crate::cpu::matrix::Mat;

/// Keys and values of the tokens of one cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members<'a> {
    /// How many there are.
    pub(super) count: usize,
    /// D
    pub(super) d: usize,
    /// Keys side by side, and [`BEHIND`] numbers behind. `[D, m]`
    pub(super) keys: &'a [f32],
    /// Values, and [`BEHIND`] numbers behind. `[m, D]`
    pub(super) values: &'a [f32],
    /// What keys and values are, of which these are codes; themselves where there is none.
    pub(super) grids: Option<[Grids<'a>; 2]>,
}

impl<'a> Members<'a> {
    /// Keys and values. `[m, D]`
    pub(super) fn matrices(&self) -> [Mat<'a>; 2] {
        [
            Mat::dense(self.keys, self.d, self.count).t(),
            Mat::dense(self.values, self.count, self.d),
        ]
    }
}

/// Room for the codes of one cluster as numbers.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

/// Keys and values of all far tokens of a head, if queries look them up.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    d: usize,
    /// Of each cluster its keys `[D, m]`, one after the other, and [`BEHIND`] numbers behind.
    keys: Vec<f32>,
    /// `[F·S, D]`, and [`BEHIND`] numbers behind.
    values: Vec<f32>,
}

impl Tokens {
    /// Room for `tokens` tokens of `d` numbers.
    pub(super) fn new(tokens: usize, d: usize) -> Self {
        let len = if tokens == 0 { 0 } else { tokens * d + BEHIND };
        Self {
            d,
            keys: vec![0.0; len],
            values: vec![0.0; len],
        }
    }

    /// Keys and values of all tokens, for writing.
    pub(super) fn parts(&mut self) -> [&mut [f32]; 2] {
        [&mut self.keys, &mut self.values]
    }

    /// The tokens of a cluster, which are these of all.
    pub(super) fn members(&self, tokens: Range<usize>) -> Members<'_> {
        let numbers = tokens.start * self.d..tokens.end * self.d + BEHIND;
        Members {
            count: tokens.len(),
            d: self.d,
            keys: &self.keys[numbers.clone()],
            values: &self.values[numbers],
            grids: None,
        }
    }
}

/// Writes the keys and values of a chunk as queries look them up, from those in the order of
/// clusters `[S, D]`.
pub(super) fn write(
    [keys, values]: [&[f32]; 2],
    [to_keys, to_values]: [&mut [f32]; 2],
    d: usize,
    counts: &[usize],
    bits: KvBits,
) {
    // Values lend their place to the keys that are rounded.
    to_values.copy_from_slice(keys);
    round_rows(to_values, d, bits);
    let mut start = 0;
    for &count in counts {
        let numbers = start * d..(start + count) * d;
        side_by_side(&to_values[numbers.clone()], d, &mut to_keys[numbers]);
        start += count;
    }
    to_values.copy_from_slice(values);
    round_rows(to_values, d, bits);
}

/// Rows of `d` numbers as columns.
pub(super) fn side_by_side(rows: &[f32], d: usize, to: &mut [f32]) {
    let count = rows.len() / d.max(1);
    for (column, row) in rows.chunks_exact(d.max(1)).enumerate() {
        for (number, &x) in row.iter().enumerate() {
            to[number * count + column] = x;
        }
    }
}
