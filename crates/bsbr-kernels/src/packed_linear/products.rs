//! The products of rows with a packed layer.

use std::ops::Range;

use rayon::prelude::*;

use super::bytes::RowScale;
use super::layer::Layer;
use super::panels::{COLUMNS, Strip};
use super::rows::Rows;
use super::tile::{ROWS, add_products};
use super::{PackedActivation, ProductType, nibbles};
use crate::cpu::math::vectorised;
use crate::cpu::matrix::MatMut;
use crate::gelu::activated;

/// Groups and rows that are multiplied before the next ones are read: 98 KiB of a panel, and 590
/// KiB of inputs, which stay in a core's own cache for all panels.
const DEPTH: usize = 768;
const HEIGHT: usize = 16 * ROWS;
/// Up to this number of rows, each thread has one task: it reads its share of the weights in order.
const FEW: usize = 16;
/// Tasks per thread for more rows.
const TASKS: usize = 4;

impl Layer {
    /// The outputs of rows. `[N, out]`
    pub(super) fn outputs_of(&self, rows: &Rows<'_>, activation: PackedActivation) -> Vec<f32> {
        let mut out = vec![0.0; rows.count * self.outputs];
        self.write_outputs(rows, activation, &mut out, false);
        out
    }

    /// Writes the outputs of rows to `out`, or adds them without an activation. `[N, out]`
    pub(super) fn write_outputs(
        &self,
        rows: &Rows<'_>,
        activation: PackedActivation,
        out: &mut [f32],
        accumulate: bool,
    ) {
        let (n, outputs) = (rows.count, self.outputs);
        let panels = outputs.div_ceil(COLUMNS);
        let threads = rayon::current_num_threads();
        let tasks = match n <= FEW {
            true => threads,
            false => threads * TASKS,
        };
        // The division into tasks does not affect results: every output is computed in the same way
        // in all of them.
        let share = panels.div_ceil(tasks).max(1);
        let views = MatMut::dense(out, n, outputs).column_panels(share * COLUMNS);
        let task = Task {
            layer: self,
            rows,
            activation,
            accumulate,
        };
        let views = views.into_par_iter().enumerate().with_max_len(1);
        views.for_each(|(number, mut out)| {
            let first = number * share;
            task.compute(first..panels.min(first + share), n, &mut out);
        });
    }
}

/// Some panels of a layer, which are multiplied by all rows.
struct Task<'a> {
    layer: &'a Layer,
    rows: &'a Rows<'a>,
    activation: PackedActivation,
    /// Whether sums in f32 begin with the numbers that are in the output.
    accumulate: bool,
}

impl Task<'_> {
    /// Writes the outputs of some panels to `out`, which has their columns.
    fn compute(&self, panels: Range<usize>, n: usize, out: &mut MatMut<'_>) {
        let depth = self.layer.depth;
        // A few rows fit into the cache.
        let step = match n <= ROWS {
            true => depth.max(1),
            false => depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1),
        };
        // Groups in 4 bits are not divided.
        let step = match self.layer.products {
            ProductType::Int4 => step.next_multiple_of(nibbles::STRIPS),
            _ => step,
        };
        for from in (0..depth.max(1)).step_by(step) {
            let to = depth.min(from + step);
            for top in (0..n).step_by(HEIGHT) {
                for panel in panels.clone() {
                    let strips = &self.layer.panels.panel(panel)[from..to];
                    for row in (top..n.min(top + HEIGHT)).step_by(ROWS) {
                        let count = ROWS.min(n - row);
                        let position = TilePosition {
                            panel,
                            column: (panel - panels.start) * COLUMNS,
                            row,
                            count,
                        };
                        self.tile(position, strips, from, out);
                    }
                }
            }
        }
    }

    /// Adds the products of a tile's rows with some strips to `out`, and finishes them with the
    /// last strip.
    fn tile(&self, position: TilePosition, strips: &[Strip], from: usize, out: &mut MatMut<'_>) {
        let TilePosition {
            panel,
            column,
            row,
            count,
        } = position;
        let layer = self.layer;
        let width = COLUMNS.min(layer.outputs - panel * COLUMNS);
        let mut sums = [[0; COLUMNS]; ROWS];
        if from > 0 || self.accumulate {
            for (i, sums) in sums.iter_mut().enumerate().take(count) {
                let out = &out.row(row + i)[column..column + width];
                for (sum, x) in sums.iter_mut().zip(out) {
                    *sum = x.to_bits();
                }
            }
        }
        match layer.products {
            ProductType::Int4 => {
                let [of_panel, first, groups] =
                    [layer.depth, from, strips.len()].map(|strips| strips / nibbles::STRIPS);
                let scales = &layer.scales[panel * of_panel + first..][..groups];
                let rows = self.rows.nibble_rows(row, first);
                nibbles::add_products(self.layer.engine, rows, count, strips, scales, &mut sums);
            }
            products => {
                let rows = self.rows.tile(row, count, from);
                add_products(self.layer.engine, products, rows, strips, &mut sums);
            }
        }
        let last = from + strips.len() == layer.depth;
        vectorised(
            #[inline(always)]
            || {
                for (i, sums) in sums.iter().enumerate().take(count) {
                    let out = &mut out.row(row + i)[column..column + width];
                    match last {
                        true => self.finish(panel, row + i, sums, out),
                        false => {
                            for (out, &sum) in out.iter_mut().zip(sums) {
                                *out = f32::from_bits(sum);
                            }
                        }
                    }
                }
            },
        );
    }

    /// From the sums of a row with a panel to the output.
    #[inline(always)]
    fn finish(&self, panel: usize, row: usize, sums: &[u32; COLUMNS], out: &mut [f32]) {
        let layer = self.layer;
        let columns = panel * COLUMNS..(panel + 1) * COLUMNS;
        let bias = &layer.bias[columns.clone()];
        let mut results = [0.0; COLUMNS];
        match layer.products {
            ProductType::Int8 => {
                let RowScale { step, zero } = self.rows.scales[row];
                let zero = zero - layer.engine.middle();
                let outputs = layer.steps[columns.clone()]
                    .iter()
                    .zip(&layer.totals[columns]);
                for (((result, &sum), (scale, total)), bias) in
                    results.iter_mut().zip(sums).zip(outputs).zip(bias)
                {
                    let sum = (sum as i32).wrapping_sub(zero.wrapping_mul(*total));
                    *result = sum as f32 * (step * scale) + bias;
                }
            }
            _ => {
                for ((result, &sum), bias) in results.iter_mut().zip(sums).zip(bias) {
                    *result = f32::from_bits(sum) + bias;
                }
            }
        }
        if self.activation == PackedActivation::GeluNew {
            for result in &mut results {
                *result = activated(*result);
            }
        }
        for (out, result) in out.iter_mut().zip(results) {
            *out = result;
        }
    }
}

/// The position of a tile.
#[derive(Clone, Copy)]
struct TilePosition {
    panel: usize,
    /// Its first column in the task's part of the output.
    column: usize,
    row: usize,
    count: usize,
}
