//! Rows of numbers in few bits, as stored in a cache.

use std::ops::Range;

use super::growing::Growing;
use super::rounding::encode_rows;
use super::settings::KvBits;
use super::tile::BEHIND;
use super::tokens::{Side, side_by_side};
use crate::cpu::math::{add_weighted, row_dot, vectorised};
use crate::cpu::matrix::Mat;

/// Integer codes, or unrounded numbers.
#[derive(Clone, Debug)]
pub(super) enum Codes {
    /// Two per byte: the first half of every block in the low four bits, the other half in the
    /// high ones.
    Four(Growing<u8>),
    Eight(Growing<i8>),
    Sixteen(Growing<i16>),
    Whole(Growing<f32>),
}

/// The layout of a block's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// `[n, D]`
    Rows,
    /// `[D, n]`
    Columns,
}

/// Rows that are added and read in blocks.
#[derive(Clone, Debug)]
pub(super) struct KeptRows {
    pub(super) bits: KvBits,
    d: usize,
    lie: Lie,
    pub(super) codes: Codes,
    /// One per row; empty for unrounded rows.
    pub(super) scales: Growing<f32>,
    /// One per row in four bits, else empty.
    pub(super) offsets: Growing<f32>,
}

/// The decoding of rows' codes: offset + scale · code.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundingGrids<'a> {
    /// One per row; empty if codes are the numbers themselves.
    pub(super) scales: &'a [f32],
    /// One per row, or empty if all are 0.
    pub(super) offsets: &'a [f32],
}

impl KeptRows {
    /// Empty, for rows of `d` numbers.
    pub(super) fn new(d: usize, bits: KvBits, lie: Lie) -> Self {
        Self {
            bits,
            d,
            lie,
            codes: match bits {
                KvBits::Four => Codes::Four(Growing::default()),
                KvBits::Eight => Codes::Eight(Growing::default()),
                KvBits::Sixteen => Codes::Sixteen(Growing::default()),
                KvBits::ThirtyTwo => Codes::Whole(Growing::default()),
            },
            scales: Growing::default(),
            offsets: Growing::default(),
        }
    }

    /// D
    pub(super) fn width(&self) -> usize {
        self.d
    }

    /// The size of the rows in bytes.
    pub(super) fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::Four(codes) => codes.len(),
            Codes::Eight(codes) => codes.len(),
            Codes::Sixteen(codes) => 2 * codes.len(),
            Codes::Whole(codes) => 4 * codes.len(),
        };
        codes + 4 * (self.scales.len() + self.offsets.len())
    }

    /// The number of codes of a row, including padding.
    pub(super) fn stride(&self) -> usize {
        match self.bits {
            KvBits::Four => self.d.next_multiple_of(2),
            _ => self.d,
        }
    }

    /// Adds a block of rows `[n, D]`.
    pub(super) fn push(&mut self, rows: &[f32]) {
        let (d, stride) = (self.d, self.stride());
        let n = rows.len() / d.max(1);
        let mut codes = vec![0.0; n * stride];
        for (to, row) in codes.chunks_exact_mut(stride).zip(rows.chunks_exact(d)) {
            to[..d].copy_from_slice(row);
        }
        if self.bits != KvBits::ThirtyTwo {
            self.encode(&mut codes);
        }
        if self.lie == Lie::Columns {
            let mut columns = vec![0.0; codes.len()];
            side_by_side(&codes, stride, &mut columns);
            codes = columns;
        }
        match &mut self.codes {
            Codes::Whole(to) => to.add(codes.into_iter()),
            Codes::Sixteen(to) => to.add(codes.into_iter().map(|x| x as i16)),
            Codes::Eight(to) => to.add(codes.into_iter().map(|x| x as i8)),
            Codes::Four(to) => {
                let (low, high) = codes.split_at(codes.len() / 2);
                let pairs = low.iter().zip(high);
                to.add(pairs.map(|(&low, &high)| low as u8 | (high as u8) << 4));
            }
        }
    }

    /// Adds a block of rows of another list, which has the same bits and lies in rows, as they
    /// are. They must not be in four bits, in which a row's codes depend on its block.
    pub(super) fn push_rows(&mut self, from: &Self, rows: &[usize]) {
        let (d, lie) = (self.d, self.lie);
        match (&mut self.codes, &from.codes) {
            (Codes::Whole(to), Codes::Whole(from)) => take(to, from, rows, d, lie),
            (Codes::Sixteen(to), Codes::Sixteen(from)) => take(to, from, rows, d, lie),
            (Codes::Eight(to), Codes::Eight(from)) => take(to, from, rows, d, lie),
            _ => debug_assert!(false, "rows of other bits"),
        }
        let scales = rows.iter().filter_map(|&row| from.scales.get(row).copied());
        self.scales.extend(scales);
    }

    /// Removes the first rows, which must not be in four bits.
    pub(super) fn drop_first(&mut self, rows: usize) {
        let numbers = rows * self.d;
        match &mut self.codes {
            Codes::Whole(codes) => drop(codes.drain(..numbers)),
            Codes::Sixteen(codes) => drop(codes.drain(..numbers)),
            Codes::Eight(codes) => drop(codes.drain(..numbers)),
            Codes::Four(_) => debug_assert!(false, "rows of four bits"),
        }
        if !self.scales.is_empty() {
            self.scales.drain(..rows);
        }
    }

    /// Replaces rows by their codes, and stores their scales and offsets.
    fn encode(&mut self, rows: &mut [f32]) {
        let mut grids = Vec::with_capacity(rows.len() / self.stride().max(1));
        encode_rows(rows, [self.d, self.stride()], self.bits, &mut grids);
        self.scales.add(grids.iter().map(|grid| grid.scale));
        if self.bits == KvBits::Four {
            self.offsets.add(grids.iter().map(|grid| grid.offset));
        }
    }

    /// Writes the codes of an added block, which consists of these rows, and [`BEHIND`] numbers
    /// of padding. Returns their decoding.
    pub(super) fn unpack(&self, rows: Range<usize>, to: &mut Vec<f32>) -> RoundingGrids<'_> {
        let (d, stride) = (self.d, self.stride());
        let numbers = rows.len() * stride;
        // The padding is read, but not used.
        to.resize(numbers + BEHIND, 0.0);
        let (start, codes) = (rows.start * stride, &mut to[..numbers]);
        vectorised(
            #[inline(always)]
            || match &self.codes {
                Codes::Whole(from) => codes.copy_from_slice(&from[start..][..numbers]),
                Codes::Sixteen(from) => {
                    for (to, &code) in codes.iter_mut().zip(&from[start..]) {
                        *to = f32::from(code);
                    }
                }
                Codes::Eight(from) => {
                    for (to, &code) in codes.iter_mut().zip(&from[start..]) {
                        *to = f32::from(code);
                    }
                }
                Codes::Four(from) => {
                    let (low, high) = codes.split_at_mut(numbers / 2);
                    let from = &from[start / 2..];
                    for (to, &code) in low.iter_mut().zip(from) {
                        *to = f32::from(code & 15);
                    }
                    for (to, &code) in high.iter_mut().zip(from) {
                        *to = f32::from(code >> 4);
                    }
                }
            },
        );
        if stride != d && self.lie == Lie::Rows {
            for row in 1..rows.len() {
                to.copy_within(row * stride..row * stride + d, row * d);
            }
        }
        RoundingGrids {
            scales: self.scales.get(rows.clone()).unwrap_or_default(),
            offsets: self.offsets.get(rows).unwrap_or_default(),
        }
    }

    /// Decoded rows `[n, D]` in a buffer, see [`decode`](Self::decode).
    pub(super) fn decoded<'a>(&self, rows: Range<usize>, to: &'a mut Vec<f32>) -> Mat<'a> {
        let n = rows.len();
        to.resize(n * self.d, 0.0);
        self.decode(rows, to);
        Mat::dense(to, n, self.d)
    }

    /// Appends decoded rows to a list, see [`decode`](Self::decode).
    pub(super) fn decode_after(&self, rows: Range<usize>, to: &mut Vec<f32>) {
        let start = to.len();
        to.resize(start + rows.len() * self.d, 0.0);
        self.decode(rows, &mut to[start..]);
    }

    /// A block that was added as an operand of a tile; `to` receives its codes.
    pub(super) fn side<'a>(&'a self, rows: Range<usize>, to: &'a mut Vec<f32>) -> Side<'a> {
        let grids = self.unpack(rows, to);
        Side {
            numbers: to,
            grids: (!grids.scales.is_empty()).then_some(grids),
        }
    }

    /// Rows that one query reads without storing decoded ones. `None` in four bits.
    pub(super) fn coded(&self, rows: Range<usize>) -> Option<Coded<'_>> {
        let all = self.d * rows.start..self.d * rows.end;
        Some(Coded {
            whole: &[],
            codes: match &self.codes {
                Codes::Whole(codes) => CodesOf::Whole(&codes[all]),
                Codes::Sixteen(codes) => CodesOf::Sixteen(&codes[all]),
                Codes::Eight(codes) => CodesOf::Eight(&codes[all]),
                Codes::Four(_) => return None,
            },
            scales: self.scales.get(rows).unwrap_or_default(),
        })
    }

    /// Writes decoded rows `[n, D]`. In four bits, each must have been added as its own block.
    pub(super) fn decode(&self, rows: Range<usize>, to: &mut [f32]) {
        let (d, start) = (self.d, rows.start * self.stride());
        let scales = self.scales.get(rows.clone()).unwrap_or_default();
        let offsets = self.offsets.get(rows).unwrap_or_default();
        vectorised(
            #[inline(always)]
            || match &self.codes {
                Codes::Whole(from) => to.copy_from_slice(&from[start..][..to.len()]),
                Codes::Sixteen(from) => decode_rows(&from[start..], scales, d, to),
                Codes::Eight(from) => decode_rows(&from[start..], scales, d, to),
                Codes::Four(from) => {
                    let half = self.stride() / 2;
                    let from = from[start / 2..].chunks_exact(half.max(1));
                    let grids = scales.iter().zip(offsets);
                    for ((to, from), (scale, offset)) in to.chunks_exact_mut(d).zip(from).zip(grids)
                    {
                        let (low, high) = to.split_at_mut(half);
                        for (x, &code) in low.iter_mut().zip(from) {
                            *x = offset + scale * f32::from(code & 15);
                        }
                        for (x, &code) in high.iter_mut().zip(from) {
                            *x = offset + scale * f32::from(code >> 4);
                        }
                    }
                }
            },
        );
    }
}

/// Rows in few bits, after some unrounded ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coded<'a> {
    /// `[n, D]`
    whole: &'a [f32],
    codes: CodesOf<'a>,
    /// One per row of codes; empty if they are the numbers themselves.
    scales: &'a [f32],
}

/// `[n, D]`
#[derive(Clone, Copy, Debug)]
enum CodesOf<'a> {
    Eight(&'a [i8]),
    Sixteen(&'a [i16]),
    Whole(&'a [f32]),
}

impl<'a> Coded<'a> {
    /// The same after unrounded rows `[n, D]`.
    pub(super) fn after(self, whole: &'a [f32]) -> Self {
        Self { whole, ..self }
    }

    /// Writes the product of each row with `x` `[D]`.
    pub(super) fn multiply(&self, x: &[f32], to: &mut [f32]) {
        let (first, to) = to.split_at_mut(self.whole.len() / x.len().max(1));
        vectorised(
            #[inline(always)]
            || {
                write_products(self.whole, x, first);
                match self.codes {
                    CodesOf::Eight(codes) => write_products(codes, x, to),
                    CodesOf::Sixteen(codes) => write_products(codes, x, to),
                    CodesOf::Whole(codes) => write_products(codes, x, to),
                }
                for (to, scale) in to.iter_mut().zip(self.scales) {
                    *to *= scale;
                }
            },
        );
    }

    /// Adds all rows, each times its weight, to `sum` `[D]`. Changes the weights.
    pub(super) fn add_weighted(&self, weights: &mut [f32], sum: &mut [f32]) {
        let (first, weights) = weights.split_at_mut(self.whole.len() / sum.len().max(1));
        vectorised(
            #[inline(always)]
            || {
                add_weighted(sum, first, self.whole);
                for (weight, scale) in weights.iter_mut().zip(self.scales) {
                    *weight *= scale;
                }
                match self.codes {
                    CodesOf::Eight(codes) => add_weighted(sum, weights, codes),
                    CodesOf::Sixteen(codes) => add_weighted(sum, weights, codes),
                    CodesOf::Whole(codes) => add_weighted(sum, weights, codes),
                }
            },
        );
    }
}

/// Writes the products of rows with `x`.
#[inline(always)]
fn write_products<T: Copy + Into<f32>>(rows: &[T], x: &[f32], to: &mut [f32]) {
    for (to, row) in to.iter_mut().zip(rows.chunks_exact(x.len().max(1))) {
        *to = row_dot(x, row);
    }
}

/// Appends some rows of a list, in rows or columns.
fn take<T: Copy>(to: &mut Vec<T>, from: &[T], rows: &[usize], d: usize, lie: Lie) {
    match lie {
        Lie::Rows => {
            for row in rows {
                to.extend_from_slice(&from[row * d..][..d]);
            }
        }
        Lie::Columns => {
            for number in 0..d {
                to.extend(rows.iter().map(|row| from[row * d + number]));
            }
        }
    }
}

/// Writes rows of `d` codes, each multiplied by its scale.
#[inline(always)]
fn decode_rows<T: Copy + Into<f32>>(codes: &[T], scales: &[f32], d: usize, to: &mut [f32]) {
    let rows = to.chunks_exact_mut(d).zip(codes.chunks_exact(d));
    for ((to, codes), scale) in rows.zip(scales) {
        for (x, &code) in to.iter_mut().zip(codes) {
            let code: f32 = code.into();
            *x = scale * code;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounding::round_rows;
    use super::*;

    #[test]
    fn rows_come_back_rounded() {
        for d in [1, 3, 8] {
            for bits in KvBits::ALL {
                let mut by_rows = KeptRows::new(d, bits, Lie::Rows);
                let mut by_columns = KeptRows::new(d, bits, Lie::Columns);
                let mut one_by_one = KeptRows::new(d, bits, Lie::Rows);
                let mut start = 0;
                for n in [1, 4, 3, 16] {
                    let rows: Vec<f32> = (0..n * d)
                        .map(|i| ((i * 37 + start * 5) % 23) as f32 / 7.0 - 1.0)
                        .collect();
                    by_rows.push(&rows);
                    by_columns.push(&rows);
                    let mut rounded = rows.clone();
                    round_rows(&mut rounded, d, bits);
                    let range = start..start + n;
                    let (mut found, mut turned) = (vec![f32::NAN; 99], Vec::new());
                    by_rows.unpack(range.clone(), &mut found);
                    by_columns.unpack(range.clone(), &mut turned);
                    for row in rows.chunks_exact(d) {
                        one_by_one.push(row);
                    }
                    let mut decoded = vec![f32::NAN; n * d];
                    one_by_one.decode(range.clone(), &mut decoded);
                    let coded = one_by_one.coded(range).filter(|_| d > 1);
                    assert_eq!(coded.is_none(), bits == KvBits::Four || d == 1);
                    if let Some(coded) = coded {
                        let all = [&rows[..d], &decoded].concat();
                        check_coded(coded.after(&rows[..d]), all, d);
                    }
                    for row in 0..n {
                        for i in 0..d {
                            assert_eq!(found[row * d + i], turned[i * n + row]);
                            let (value, expected) = (decoded[row * d + i], rounded[row * d + i]);
                            assert!((value - expected).abs() < 1e-6, "{bits:?}, d = {d}");
                        }
                    }
                    start += n;
                }
            }
        }
    }

    /// Compares products and sums with those of decoded rows.
    fn check_coded(coded: Coded<'_>, decoded: Vec<f32>, d: usize) {
        let x: Vec<f32> = (0..d).map(|i| (i * 3 % 5) as f32 - 1.5).collect();
        let rows = decoded.chunks_exact(d);
        let expected: Vec<f32> = rows
            .clone()
            .map(|row| row.iter().zip(&x).map(|(row, x)| row * x).sum())
            .collect();
        let mut found = vec![f32::NAN; expected.len()];
        coded.multiply(&x, &mut found);
        let mut sum = x.clone();
        coded.add_weighted(&mut expected.clone(), &mut sum);
        let mut expected_sum = x;
        for (row, weight) in rows.zip(&expected) {
            for (sum, row) in expected_sum.iter_mut().zip(row) {
                *sum += weight * row;
            }
        }
        let [all, others] = [[found, sum].concat(), [expected, expected_sum].concat()];
        for (found, expected) in all.iter().zip(&others) {
            let close = (found - expected).abs() < 1e-4 * (1.0 + expected.abs());
            assert!(close, "{found} beside {expected}");
        }
    }

    #[test]
    fn rows_of_another_list_are_taken_as_they_are() {
        let d = 3;
        for bits in [KvBits::Eight, KvBits::Sixteen, KvBits::ThirtyTwo] {
            let numbers: Vec<f32> = (0..7 * d)
                .map(|i| (i * 5 % 13) as f32 / 3.0 - 2.0)
                .collect();
            let mut from = KeptRows::new(d, bits, Lie::Rows);
            from.push(&numbers);
            from.drop_first(2);
            let mut expected = vec![f32::NAN; 3 * d];
            for (to, row) in expected.chunks_exact_mut(d).zip([4, 0, 1]) {
                from.decode(row..row + 1, to);
            }
            for lie in [Lie::Rows, Lie::Columns] {
                let mut taken = KeptRows::new(d, bits, lie);
                taken.push_rows(&from, &[2]);
                taken.push_rows(&from, &[4, 0, 1]);
                let mut found = Vec::new();
                let grids = taken.unpack(1..4, &mut found);
                for row in 0..3 {
                    let scale = grids.scales.get(row).copied().unwrap_or(1.0);
                    for i in 0..d {
                        let at = match lie {
                            Lie::Rows => row * d + i,
                            Lie::Columns => i * 3 + row,
                        };
                        assert_eq!(scale * found[at], expected[row * d + i], "{bits:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_are_those_of_codes_and_grids() {
        let bytes = |bits| {
            let mut kept = KeptRows::new(64, bits, Lie::Rows);
            kept.push(&[0.5; 640]);
            kept.bytes()
        };
        let all = KvBits::ALL.map(bytes);
        assert_eq!(
            all,
            [10 * (32 + 8), 10 * (64 + 4), 10 * (128 + 4), 10 * 256]
        );
    }
}
