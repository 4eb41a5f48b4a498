//! Products of a few queries with the tokens of one cluster.
//!
//! A cluster has about sixteen tokens, and few of the queries of a block look it up. That is too
//! little for a general matrix product, which would spend its time on copying operands. Here keys
//! lie across the lanes of a register, queries are broadcast from memory, and sums stay in
//! registers.
#![allow(clippy::needless_range_loop)] // rows and registers are numbers of several arrays at once
#![allow(unsafe_code)] // loads without checks, of what is checked once in front of the loops

use pulp::{Simd, WithSimd};

use crate::cpu::math::LANES;
use crate::cpu::simd::{
    WithHalves, dispatch, dispatch_with_halves, lanes, lanes_unchecked, splat_unchecked, store,
};

/// Padding after the operands of a tile, which may be read but is not used.
pub(super) const BEHIND: usize = LANES;

/// Asks the processor to load numbers into its caches, where it can be asked.
pub(super) fn prefetch(numbers: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(16) {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every processor of this kind has the instruction, and the address is valid.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// Scores of the tokens of a cluster: products with some of the rows of `q`.
pub(super) struct Scores<'a> {
    /// `[rows, D]`
    pub(super) q: &'a [f32],
    /// Rows of `q`.
    pub(super) queries: &'a [u32],
    /// The cluster's keys by dimension, followed by [`BEHIND`] numbers. `[D, m]`
    pub(super) keys: &'a [f32],
    /// D
    pub(super) d: usize,
    /// m
    pub(super) m: usize,
    /// Room for `m` scores of each query, in whole registers. `[queries, m…]`
    pub(super) to: &'a mut [f32],
}

impl Scores<'_> {
    pub(super) fn run(self) {
        dispatch_with_halves(self);
    }
}

/// Parallel sums of each score, because one sum would wait for its own last term. The order of a
/// score's sum must not depend on the other queries of the call, which may be later ones.
const SUMS: usize = 4;

impl WithHalves for Scores<'_> {
    #[inline(always)]
    fn with_halves<S: Simd, H: Simd>(mut self, simd: S, half: H) {
        let (d, m) = (self.d, self.m);
        let rows = self.q.len() / d.max(1);
        assert!(
            self.keys.len() >= d * m + BEHIND
                && self.to.len() >= self.queries.len() * m.next_multiple_of(LANES)
                && self.queries.iter().all(|&query| (query as usize) < rows),
            "a tile of scores out of bounds"
        );
        let mut first = 0;
        while first < self.queries.len() {
            first += match self.queries.len() - first {
                6.. => self.rows::<S, H, 6>(simd, half, first),
                4.. => self.rows::<S, H, 4>(simd, half, first),
                2.. => self.rows::<S, H, 2>(simd, half, first),
                _ => self.rows::<S, H, 1>(simd, half, first),
            };
        }
    }
}

impl Scores<'_> {
    /// Scores of R queries from number `first` on.
    #[inline(always)]
    fn rows<S: Simd, H: Simd, const R: usize>(&mut self, simd: S, half: H, first: usize) -> usize {
        let mut start = 0;
        while start < self.m {
            start += if self.m - start > H::F32_LANES {
                self.keys::<S, R>(simd, first, start)
            } else {
                self.keys::<H, R>(half, first, start)
            };
        }
        R
    }

    /// Scores of R queries with a register of keys.
    #[inline(always)]
    fn keys<S: Simd, const R: usize>(&mut self, simd: S, first: usize, start: usize) -> usize {
        let (d, m) = (self.d, self.m);
        let wide = m.next_multiple_of(LANES);
        let q: [&[f32]; R] =
            core::array::from_fn(|row| &self.q[self.queries[first + row] as usize * d..][..d]);
        let mut sums = [[simd.splat_f32s(0.0); R]; SUMS];
        let mut number = 0;
        while number + SUMS <= d {
            for sum in 0..SUMS {
                // The last keys extend into the padding. SAFETY: below d · m + BEHIND.
                let key = unsafe { lanes_unchecked(simd, self.keys, (number + sum) * m + start) };
                for row in 0..R {
                    // SAFETY: each query has d numbers.
                    let x = unsafe { splat_unchecked(simd, q[row], number + sum) };
                    sums[sum][row] = simd.mul_add_e_f32s(x, key, sums[sum][row]);
                }
            }
            number += SUMS;
        }
        while number < d {
            // SAFETY: below d · m + BEHIND.
            let key = unsafe { lanes_unchecked(simd, self.keys, number * m + start) };
            for row in 0..R {
                // SAFETY: each query has d numbers.
                let x = unsafe { splat_unchecked(simd, q[row], number) };
                sums[0][row] = simd.mul_add_e_f32s(x, key, sums[0][row]);
            }
            number += 1;
        }
        for row in 0..R {
            let even = simd.add_f32s(sums[0][row], sums[2][row]);
            let odd = simd.add_f32s(sums[1][row], sums[3][row]);
            let to = (first + row) * wide + start;
            store(simd, self.to, to, simd.add_f32s(even, odd));
        }
        S::F32_LANES
    }
}

/// Adds the weighted values of a cluster's tokens to some rows of a matrix.
pub(super) struct Values<'a> {
    /// `[queries, m…]`, in whole registers
    pub(super) weights: &'a [f32],
    /// The cluster's values, followed by [`BEHIND`] numbers. `[m, D]`
    pub(super) values: &'a [f32],
    /// D
    pub(super) d: usize,
    /// m
    pub(super) m: usize,
    /// Rows of `to`.
    pub(super) queries: &'a [u32],
    /// Rows of `D` numbers, padded to whole registers.
    pub(super) to: &'a mut [f32],
}

impl Values<'_> {
    pub(super) fn run(self) {
        dispatch(self);
    }
}

impl WithSimd for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (d, m) = (self.d, self.m);
        let rows = self.to.len() / d.next_multiple_of(LANES).max(1);
        assert!(
            self.values.len() >= d * m + BEHIND
                && self.weights.len() >= self.queries.len() * m.next_multiple_of(LANES)
                && self.queries.iter().all(|&query| (query as usize) < rows),
            "a tile of values out of bounds"
        );
        let mut first = 0;
        while first < self.queries.len() {
            first += match self.queries.len() - first {
                4.. => self.rows::<S, 4>(simd, first),
                2.. => self.rows::<S, 2>(simd, first),
                _ => self.rows::<S, 1>(simd, first),
            };
        }
    }
}

impl Values<'_> {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, first: usize) -> usize {
        let vectors = self.d.div_ceil(S::F32_LANES);
        let mut vector = 0;
        while vector < vectors {
            let column = vector * S::F32_LANES;
            vector += match vectors - vector {
                4.. => self.columns::<S, R, 4>(simd, first, column),
                2.. => self.columns::<S, R, 2>(simd, first, column),
                _ => self.columns::<S, R, 1>(simd, first, column),
            };
        }
        R
    }

    /// V registers of R rows.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        column: usize,
    ) -> usize {
        let (d, m) = (self.d, self.m);
        let (wide, stride) = (m.next_multiple_of(LANES), d.next_multiple_of(LANES));
        let places: [usize; R] =
            core::array::from_fn(|row| self.queries[first + row] as usize * stride + column);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for row in 0..R {
            for vector in 0..V {
                sums[row][vector] = lanes(simd, self.to, places[row] + vector * S::F32_LANES);
            }
        }
        let weights: [&[f32]; R] =
            core::array::from_fn(|row| &self.weights[(first + row) * wide..][..m]);
        for token in 0..m {
            let mut value = [simd.splat_f32s(0.0); V];
            for vector in 0..V {
                let at = token * d + column + vector * S::F32_LANES;
                // SAFETY: below d · m + BEHIND.
                value[vector] = unsafe { lanes_unchecked(simd, self.values, at) };
            }
            for row in 0..R {
                // SAFETY: each row has m weights.
                let weight = unsafe { splat_unchecked(simd, weights[row], token) };
                for vector in 0..V {
                    sums[row][vector] =
                        simd.mul_add_e_f32s(weight, value[vector], sums[row][vector]);
                }
            }
        }
        for row in 0..R {
            for vector in 0..V {
                let at = places[row] + vector * S::F32_LANES;
                store(simd, self.to, at, sums[row][vector]);
            }
        }
        V
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 11) % 64) as f32 / 16.0 - 2.0)
            .collect()
    }

    /// Integer multiples of sixteenths: sums are exact in any order.
    #[test]
    fn products_are_those_of_the_definition() {
        for (d, m) in [(1, 1), (5, 3), (16, 16), (64, 17), (33, 40), (80, 15)] {
            for queries in [1, 2, 3, 7, 8, 13] {
                let rows: Vec<u32> = (0..queries).map(|i| (i * 2 + 1) as u32).collect();
                let q = numbers(30 * d, 1);
                let (keys, values) = (numbers(d * m + BEHIND, 2), numbers(d * m + BEHIND, 3));
                let wide = m.next_multiple_of(LANES);
                let mut scores = vec![0.0; queries * wide];
                Scores {
                    q: &q,
                    queries: &rows,
                    keys: &keys,
                    d,
                    m,
                    to: &mut scores,
                }
                .run();
                let stride = d.next_multiple_of(LANES);
                let mut out = vec![1.0; 30 * stride];
                Values {
                    weights: &scores,
                    values: &values,
                    d,
                    m,
                    queries: &rows,
                    to: &mut out,
                }
                .run();
                for (number, &row) in rows.iter().enumerate() {
                    let row = row as usize;
                    let score = |token: usize| -> f32 {
                        (0..d).map(|i| q[row * d + i] * keys[i * m + token]).sum()
                    };
                    for token in 0..m {
                        assert_eq!(scores[number * wide + token], score(token));
                    }
                    for i in 0..d {
                        let sum: f32 = (0..m).map(|t| score(t) * values[t * d + i]).sum();
                        let found = out[row * stride + i];
                        assert!((found - 1.0 - sum).abs() <= 1e-4 * sum.abs().max(1.0));
                    }
                }
                let untouched = out[..stride].iter().all(|&x| x == 1.0);
                assert!(untouched, "a row that no query asked for");
            }
        }
    }
}
