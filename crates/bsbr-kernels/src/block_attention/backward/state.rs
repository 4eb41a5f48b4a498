//! Gradients of the bases of states.
//!
//! A state F of a far chunk is stored as K = Uᵀ F V, and a chunk reads S = U M Vᵀ of a
//! mixture M. So the gradient of M is Uᵀ dS V, and the gradient of F is U dK Vᵀ. Both
//! contribute to those of U and V.

use super::Head;
use crate::block_attention::far::HeadState;
use crate::cpu::math::{row_add, vectorised};
use crate::cpu::matrix::{Mat, product};

/// Gradients of the bases `[D, r]` of a head's keys and values; empty without bases.
#[derive(Debug, Default)]
pub(super) struct BasisGradients {
    key: Vec<f32>,
    value: Vec<f32>,
}

impl BasisGradients {
    pub(super) fn new(head: &Head<'_>) -> Self {
        let len = match head.reads_states() {
            true => super::basis_len(&head.state),
            false => 0,
        };
        Self {
            key: vec![0.0; len],
            value: vec![0.0; len],
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        vectorised(
            #[inline(always)]
            || {
                row_add(&mut self.key, &other.key);
                row_add(&mut self.value, &other.value);
            },
        );
    }

    /// Adds them to those of all heads, at index `at`.
    pub(super) fn add_to(&self, [keys, values]: &mut [Vec<f32>; 2], at: usize) {
        let len = self.key.len();
        row_add(&mut keys[at..at + len], &self.key);
        row_add(&mut values[at..at + len], &self.value);
    }
}

/// Buffers.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    half: Vec<f32>,
    other: Vec<f32>,
}

impl Scratch {
    /// From the gradient of S `[D, D]`, that of the mixture `[r, r]`, which is `mixed`.
    pub(super) fn compress(
        &mut self,
        head: &Head<'_>,
        whole: &[f32],
        mixed: &[f32],
        to: &mut [f32],
        bases: &mut BasisGradients,
    ) {
        let HeadState::Compressed { key, value } = head.state else {
            return;
        };
        let (d, r) = (head.d, key.t().height());
        let (whole, mixed) = (Mat::dense(whole, d, d), Mat::dense(mixed, r, r));
        self.half.resize(d * r, 0.0);
        // dS V, then dSᵀ's part of the other side: U M.
        product(&mut self.half, whole, value, 1.0, false);
        let half = Mat::dense(&self.half, d, r);
        product(to, key.t(), half, 1.0, false);
        product(&mut bases.key, half, mixed.t(), 1.0, true);
        product(&mut self.half, key, mixed, 1.0, false);
        let half = Mat::dense(&self.half, d, r);
        product(&mut bases.value, whole.t(), half, 1.0, true);
    }

    /// From the gradient of K `[r, r]`, that of F `[D, D]`, which is `share` times the sum
    /// of the products of `keys` and `values` `[S, D]`.
    pub(super) fn restore(
        &mut self,
        head: &Head<'_>,
        kept: &[f32],
        [keys, values]: [Mat<'_>; 2],
        share: f32,
        to: &mut [f32],
        bases: &mut BasisGradients,
    ) {
        let HeadState::Compressed { key, value } = head.state else {
            return;
        };
        let (d, r, size) = (head.d, key.t().height(), keys.height());
        let kept = Mat::dense(kept, r, r);
        self.half.resize(d.max(size) * r, 0.0);
        self.other.resize(d * r, 0.0);
        product(&mut self.half, key, kept, 1.0, false);
        let half = Mat::dense(&self.half, d, r);
        product(to, half, value.t(), 1.0, false);
        // F V dKᵀ and Fᵀ U dK.
        for (rows, others, basis, kept, to) in [
            (keys, values, value, kept.t(), &mut bases.key),
            (values, keys, key, kept, &mut bases.value),
        ] {
            product(&mut self.half, others, basis, 1.0, false);
            let projected = Mat::dense(&self.half, size, r);
            product(&mut self.other, rows.t(), projected, share, false);
            let other = Mat::dense(&self.other, d, r);
            product(to, other, kept, 1.0, true);
        }
    }
}
