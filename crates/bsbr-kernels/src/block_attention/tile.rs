//! Products of a few queries with the tokens of one cluster.
//!
//! A cluster has some sixteen tokens, and a few of the queries of a block look into it: too little
//! for a general matrix product, which would spend its time on laying out operands. Here keys lie
//! across the lanes of a register and queries are broadcast from where they are, so nothing is
//! laid out, and sums stay in registers.
#![allow(clippy::needless_range_loop)] // rows and registers are numbers of several arrays at once

use std::sync::LazyLock;

use pulp::{Simd, WithSimd};

use crate::cpu::math::LANES;

/// Numbers that may be read, and not used, behind the last of what a tile multiplies.
pub(super) const BEHIND: usize = LANES;

/// The most queries that are taken together.
const QUERIES: usize = 8;

/// The instruction sets that there are kernels for.
///
/// `pulp`'s own choice would leave AVX2 out, which a feature of it names that `gemm` does not ask
/// for.
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    Other(pulp::Arch),
}

/// The best that this machine has.
static ISA: LazyLock<Isa> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = pulp::x86::V4::try_new() {
            return Isa::Avx512(simd);
        }
        if let Some(simd) = pulp::x86::V3::try_new() {
            return Isa::Avx2(simd);
        }
    }
    Isa::Other(pulp::Arch::new())
});

/// Runs a kernel compiled for the best instruction set of this machine.
#[inline]
pub(super) fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    match &*ISA {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(simd) => Simd::vectorize(*simd, kernel),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(simd) => Simd::vectorize(*simd, kernel),
        Isa::Other(arch) => arch.dispatch(kernel),
    }
}

/// Scores of the tokens of a cluster: products with some of the rows of `q`.
pub(super) struct Scores<'a> {
    /// `[rows, D]`
    pub(super) q: &'a [f32],
    /// Rows of `q`.
    pub(super) queries: &'a [u32],
    /// The cluster's keys, side by side, and [`BEHIND`] numbers behind. `[D, m]`
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
        dispatch(self);
    }
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut queries = self.queries;
        let mut first = 0;
        while !queries.is_empty() {
            let taken = match queries.len() {
                QUERIES.. => self.rows::<S, QUERIES>(simd, queries, first),
                4.. => self.rows::<S, 4>(simd, queries, first),
                2.. => self.rows::<S, 2>(simd, queries, first),
                _ => self.rows::<S, 1>(simd, queries, first),
            };
            queries = &queries[taken..];
            first += taken;
        }
    }
}

impl Scores<'_> {
    /// Scores of the first R of `queries`, whose scores begin with row `first`.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, queries: &[u32], first: usize) -> usize {
        let (d, m) = (self.d, self.m);
        let wide = m.next_multiple_of(LANES);
        let q: [&[f32]; R] = core::array::from_fn(|row| &self.q[queries[row] as usize * d..][..d]);
        for start in (0..m).step_by(S::F32_LANES) {
            let mut sums = [simd.splat_f32s(0.0); R];
            for number in 0..d {
                let key = lanes(simd, &self.keys[number * m + start..]);
                for row in 0..R {
                    let x = simd.splat_f32s(q[row][number]);
                    sums[row] = simd.mul_add_e_f32s(x, key, sums[row]);
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                store(simd, &mut self.to[(first + row) * wide + start..], sum);
            }
        }
        R
    }
}

/// Adds to some rows of a matrix the values of a cluster's tokens, times their weights.
pub(super) struct Values<'a> {
    /// `[queries, m…]`, in whole registers
    pub(super) weights: &'a [f32],
    /// The cluster's values, and [`BEHIND`] numbers behind. `[m, D]`
    pub(super) values: &'a [f32],
    /// D
    pub(super) d: usize,
    /// m
    pub(super) m: usize,
    /// Rows of `to`.
    pub(super) queries: &'a [u32],
    /// Rows of `D` numbers in whole registers.
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
        let mut queries = self.queries;
        let mut first = 0;
        while !queries.is_empty() {
            let taken = match queries.len() {
                4.. => self.rows::<S, 4>(simd, queries, first),
                2.. => self.rows::<S, 2>(simd, queries, first),
                _ => self.rows::<S, 1>(simd, queries, first),
            };
            queries = &queries[taken..];
            first += taken;
        }
    }
}

impl Values<'_> {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, simd: S, queries: &[u32], first: usize) -> usize {
        let vectors = self.d.div_ceil(S::F32_LANES);
        let mut vector = 0;
        while vector < vectors {
            let column = vector * S::F32_LANES;
            vector += match vectors - vector {
                4.. => self.columns::<S, R, 4>(simd, queries, first, column),
                2.. => self.columns::<S, R, 2>(simd, queries, first, column),
                _ => self.columns::<S, R, 1>(simd, queries, first, column),
            };
        }
        R
    }

    /// V registers of R rows.
    #[inline(always)]
    fn columns<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        queries: &[u32],
        first: usize,
        column: usize,
    ) -> usize {
        let (d, m) = (self.d, self.m);
        let (wide, stride) = (m.next_multiple_of(LANES), d.next_multiple_of(LANES));
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for row in 0..R {
            let to = &self.to[queries[row] as usize * stride + column..];
            for vector in 0..V {
                sums[row][vector] = lanes(simd, &to[vector * S::F32_LANES..]);
            }
        }
        let weights: [&[f32]; R] =
            core::array::from_fn(|row| &self.weights[(first + row) * wide..][..m]);
        for token in 0..m {
            let values = &self.values[token * d + column..];
            let mut value = [simd.splat_f32s(0.0); V];
            for vector in 0..V {
                value[vector] = lanes(simd, &values[vector * S::F32_LANES..]);
            }
            for row in 0..R {
                let weight = simd.splat_f32s(weights[row][token]);
                for vector in 0..V {
                    sums[row][vector] =
                        simd.mul_add_e_f32s(weight, value[vector], sums[row][vector]);
                }
            }
        }
        for row in 0..R {
            let to = &mut self.to[queries[row] as usize * stride + column..];
            for vector in 0..V {
                store(simd, &mut to[vector * S::F32_LANES..], sums[row][vector]);
            }
        }
        V
    }
}

/// The first numbers of a slice that has enough for a register.
#[inline(always)]
pub(super) fn lanes<S: Simd>(_: S, from: &[f32]) -> S::f32s {
    S::as_simd_f32s(&from[..S::F32_LANES]).0[0]
}

#[inline(always)]
pub(super) fn store<S: Simd>(_: S, to: &mut [f32], x: S::f32s) {
    S::as_mut_simd_f32s(&mut to[..S::F32_LANES]).0[0] = x;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 11) % 64) as f32 / 16.0 - 2.0)
            .collect()
    }

    /// Whole numbers of sixteenths: sums are exact, in whatever order.
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
