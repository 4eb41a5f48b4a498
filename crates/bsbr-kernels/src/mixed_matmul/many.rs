//! Products of many rows with a weight, with one panel at a time in single precision.

use rayon::prelude::*;

use super::flex::Rows;
use crate::cpu::math::vectorised;
use crate::cpu::matrix::{Mat, MatMut, product_in_view};
use crate::cpu::number::{Number, widen_row};

/// Columns and rows of a panel, 384 KiB in total: it stays in a core's own cache, beside the rows
/// that it is multiplied with.
const COLUMNS: usize = 192;
const DEPTH: usize = 512;

/// x `[N, K]` times a weight of the rows `[K, M]`, or `[M, K]` if `transposed`. `[N, M]`
pub(super) fn by_panels<T: Number>(
    x: &[f32],
    n: usize,
    weight: Rows<'_, T>,
    transposed: bool,
) -> Vec<f32> {
    let (k, m) = match transposed {
        false => (weight.height, weight.width),
        true => (weight.width, weight.height),
    };
    let mut out = vec![0.0; n * m];
    let panels = MatMut::dense(&mut out, n, m).column_panels(COLUMNS);
    let panels = panels.into_par_iter().enumerate();
    panels.for_each_init(
        || vec![0.0; COLUMNS * DEPTH],
        |panel, (number, mut out)| {
            let start = number * COLUMNS;
            let width = COLUMNS.min(m - start);
            for from in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - from);
                let rhs = match transposed {
                    false => widened(panel, weight, [from, depth], [start, width]),
                    true => widened(panel, weight, [start, width], [from, depth]).t(),
                };
                let lhs = Mat::new(&x[from..], n, depth, k, 1);
                product_in_view(out.reborrow(), lhs, rhs, from > 0);
            }
        },
    );
    out
}

/// A range of rows and columns of a weight, converted into `panel`.
fn widened<'a, T: Number>(
    panel: &'a mut [f32],
    weight: Rows<'_, T>,
    [first, height]: [usize; 2],
    [start, width]: [usize; 2],
) -> Mat<'a> {
    vectorised(
        #[inline(always)]
        || {
            for (row, wide) in panel.chunks_exact_mut(width).take(height).enumerate() {
                widen_row(wide, weight.part(first + row, start, width));
            }
        },
    );
    Mat::dense(panel, height, width)
}
