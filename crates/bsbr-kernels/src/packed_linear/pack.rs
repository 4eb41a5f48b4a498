//! The packing of weights into the panels of a layer.

use core::ops::Range;

use burn::tensor::bf16;
use rayon::prelude::*;

use super::int8::{round_weight, weight_step};
use super::layer::Layer;
use super::panels::{COLUMNS, Strip};
use super::rows::{bf16_bits, pair_rows};
use super::{ProductType, WeightLayout, nibbles};
use crate::cpu::math::vectorised;
use crate::cpu::number::{Number, widen_row};

/// Inputs of a panel that are transposed at a time.
const BLOCK: usize = 64;

impl Layer {
    /// Packs weights already in 8 bits, `[in, out]`, and a step per output.
    pub(super) fn fill_with_bytes(&mut self, weight: &[i8], steps: &[f32]) {
        let (outputs, depth) = (self.outputs, self.depth.max(1));
        self.steps[..outputs].copy_from_slice(steps);
        let strips = self.panels.strips_mut().par_chunks_mut(depth).enumerate();
        let totals = self.totals.par_chunks_mut(COLUMNS);
        strips.zip(totals).for_each(|((panel, strips), totals)| {
            let first = panel * COLUMNS;
            let columns = first..outputs.min(first + COLUMNS);
            vectorised(
                #[inline(always)]
                || {
                    for (strip, rows) in strips.iter_mut().zip(weight.chunks(4 * outputs)) {
                        join_bytes(strip, totals, rows, outputs, columns.clone());
                    }
                },
            );
        });
    }

    /// Packs weights in bf16, `[in, out]`, in pairs.
    pub(super) fn fill_with_bf16(&mut self, weight: &[bf16]) {
        let (outputs, depth) = (self.outputs, self.depth.max(1));
        let strips = self.panels.strips_mut().par_chunks_mut(depth).enumerate();
        strips.for_each(|(panel, strips)| {
            let first = panel * COLUMNS;
            let columns = first..outputs.min(first + COLUMNS);
            vectorised(
                #[inline(always)]
                || {
                    for (strip, rows) in strips.iter_mut().zip(weight.chunks(2 * outputs)) {
                        pair_rows(strip, rows, outputs, columns.clone());
                    }
                },
            );
        });
    }

    /// Packs the weights.
    pub(super) fn fill<T: Number>(&mut self, weight: &[T], layout: WeightLayout) {
        let (inputs, outputs, products) = (self.inputs, self.outputs, self.products);
        let depth = self.depth.max(1);
        let strips = self.panels.strips_mut().par_chunks_mut(depth).enumerate();
        let steps = self.steps.par_chunks_mut(COLUMNS);
        let totals = self.totals.par_chunks_mut(COLUMNS);
        let room = || vec![[0.0; COLUMNS]; depth * products.group()];
        match products {
            ProductType::Int8 => strips.zip(steps).zip(totals).for_each_init(
                room,
                |wide, (((panel, strips), steps), totals)| {
                    widen_panel(wide, weight, layout, [inputs, outputs], panel);
                    vectorised(
                        #[inline(always)]
                        || pack_bytes(wide, strips, steps, totals),
                    );
                },
            ),
            ProductType::Int4 => {
                let scales = self.scales.par_chunks_mut((depth / nibbles::STRIPS).max(1));
                strips
                    .zip(scales)
                    .for_each_init(room, |wide, ((panel, strips), scales)| {
                        widen_panel(wide, weight, layout, [inputs, outputs], panel);
                        vectorised(
                            #[inline(always)]
                            || nibbles::pack(wide, strips, scales),
                        );
                    });
            }
            _ => strips.for_each_init(room, |wide, (panel, strips)| {
                widen_panel(wide, weight, layout, [inputs, outputs], panel);
                vectorised(
                    #[inline(always)]
                    || pack_floats(wide, strips, products),
                );
            }),
        }
    }
}

/// Groups of some columns of up to four rows of `width` bytes, and their part of the totals.
#[inline(always)]
fn join_bytes(
    strip: &mut Strip,
    totals: &mut [i32],
    rows: &[i8],
    width: usize,
    columns: Range<usize>,
) {
    let mut bytes = [[0_i8; COLUMNS]; 4];
    for (bytes, row) in bytes.iter_mut().zip(rows.chunks_exact(width)) {
        let row = &row[columns.clone()];
        match row.as_array() {
            // A whole panel is the usual case, and its length is known.
            Some(row) => *bytes = *row,
            None => bytes[..row.len()].copy_from_slice(row),
        }
    }
    let [a, b, c, d] = bytes;
    for (column, group) in strip.iter_mut().enumerate() {
        let four = [a[column], b[column], c[column], d[column]];
        *group = u32::from_le_bytes(four.map(|byte| byte as u8));
    }
    for (column, total) in totals.iter_mut().enumerate() {
        let four = [a[column], b[column], c[column], d[column]];
        *total += four.map(i32::from).iter().sum::<i32>();
    }
}

/// Writes the weights of a panel in f32, with those of an input adjacent, padded with zeros.
fn widen_panel<T: Number>(
    wide: &mut [[f32; COLUMNS]],
    weight: &[T],
    layout: WeightLayout,
    [inputs, outputs]: [usize; 2],
    panel: usize,
) {
    let first = panel * COLUMNS;
    let width = COLUMNS.min(outputs - first);
    wide.fill([0.0; COLUMNS]);
    vectorised(
        #[inline(always)]
        || match layout {
            WeightLayout::InOut => {
                for (wide, row) in wide.iter_mut().zip(weight.chunks_exact(outputs)) {
                    widen_row(&mut wide[..width], &row[first..first + width]);
                }
            }
            WeightLayout::OutIn => {
                // Some inputs of all columns at a time, which stay in the nearest cache.
                for (block, wide) in wide.chunks_mut(BLOCK).enumerate() {
                    let rows = weight.chunks_exact(inputs).skip(first).take(width);
                    for (column, row) in rows.enumerate() {
                        let row = row.get(block * BLOCK..).unwrap_or_default();
                        for (wide, x) in wide.iter_mut().zip(row) {
                            wide[column] = x.widen();
                        }
                    }
                }
            }
        },
    );
}

/// Packs a panel in f32 or bf16.
#[inline(always)]
fn pack_floats(wide: &[[f32; COLUMNS]], strips: &mut [Strip], products: ProductType) {
    match products {
        ProductType::Bf16 => {
            for (strip, [a, b]) in strips.iter_mut().zip(wide.as_chunks().0) {
                for ((group, &a), &b) in strip.iter_mut().zip(a).zip(b) {
                    *group = bf16_bits(a) | (bf16_bits(b) << 16);
                }
            }
        }
        _ => {
            for (strip, row) in strips.iter_mut().zip(wide) {
                for (group, x) in strip.iter_mut().zip(row) {
                    *group = x.to_bits();
                }
            }
        }
    }
}

/// Packs a panel in 8 bits.
#[inline(always)]
fn pack_bytes(
    wide: &[[f32; COLUMNS]],
    strips: &mut [Strip],
    steps: &mut [f32],
    totals: &mut [i32],
) {
    let mut largest = [0.0_f32; COLUMNS];
    for row in wide {
        for (largest, x) in largest.iter_mut().zip(row) {
            let size = x.abs();
            *largest = if size > *largest { size } else { *largest };
        }
    }
    for (step, largest) in steps.iter_mut().zip(largest) {
        *step = weight_step(largest);
    }
    for (strip, rows) in strips.iter_mut().zip(wide.as_chunks::<4>().0) {
        *strip = [0; COLUMNS];
        for (i, row) in rows.iter().enumerate() {
            let columns = strip.iter_mut().zip(row).zip(&*steps).zip(&mut *totals);
            for (((group, &x), &step), total) in columns {
                let byte = round_weight(x, step);
                *group |= byte << (8 * i);
                *total += i32::from(byte as i8);
            }
        }
    }
}
