//! Tokens of far chunks in the order of clusters, for lookups.

use std::ops::Range;

use super::kept::RoundingGrids;
use super::rounding::round_rows;
use super::settings::KvBits;
use super::tile::BEHIND;
use crate::cpu::matrix::Mat;

/// Keys or values of the tokens of one cluster, or of the clusters of a merged one, as operands of
/// a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    /// Keys by dimension `[D, m]`, or values `[m, D]`, followed by [`BEHIND`] numbers.
    pub(super) numbers: &'a [f32],
    /// Their decoding, if they are codes.
    pub(super) grids: Option<RoundingGrids<'a>>,
}

/// The tokens of one cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members<'a> {
    /// The number of tokens.
    pub(super) count: usize,
    /// D
    pub(super) d: usize,
    /// Keys and values.
    pub(super) sides: [Side<'a>; 2],
}

impl<'a> Members<'a> {
    /// Keys and values. `[m, D]`
    pub(super) fn matrices(&self) -> [Mat<'a>; 2] {
        let [keys, values] = self.sides.map(|side| side.numbers);
        [
            Mat::dense(keys, self.d, self.count).t(),
            Mat::dense(values, self.count, self.d),
        ]
    }
}

/// Room for the codes of one cluster as numbers.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

/// Keys and values of all far tokens of a head, for lookups.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    d: usize,
    /// The keys `[D, m]` of each cluster in sequence, followed by [`BEHIND`] numbers.
    keys: Vec<f32>,
    /// `[F·S, D]`, followed by [`BEHIND`] numbers.
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

    /// The tokens of a cluster, given their range.
    pub(super) fn members(&self, tokens: Range<usize>) -> Members<'_> {
        let numbers = tokens.start * self.d..tokens.end * self.d + BEHIND;
        Members {
            count: tokens.len(),
            d: self.d,
            sides: [&self.keys, &self.values].map(|side| Side {
                numbers: &side[numbers.clone()],
                grids: None,
            }),
        }
    }
}

/// Writes the keys and values of a chunk for lookups, from those in the order of clusters
/// `[S, D]`.
pub(super) fn write(
    [keys, values]: [&[f32]; 2],
    [to_keys, to_values]: [&mut [f32]; 2],
    d: usize,
    counts: &[usize],
    bits: KvBits,
) {
    // The room for values is a buffer for rounding the keys.
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

/// Transposes rows of `d` numbers to columns.
pub(super) fn side_by_side(rows: &[f32], d: usize, to: &mut [f32]) {
    let count = rows.len() / d.max(1);
    for (column, row) in rows.chunks_exact(d.max(1)).enumerate() {
        for (number, &x) in row.iter().enumerate() {
            to[number * count + column] = x;
        }
    }
}
