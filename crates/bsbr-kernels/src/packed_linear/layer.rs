//! A packed layer, and its product with rows.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, bf16, f16};
use rayon::prelude::*;

use super::bytes::{MOST_INPUTS, RowScale};
use super::int8::{Int8Weight, round_weight, weight_step};
use super::nibbles;
use super::panels::{COLUMNS, Panels, Strip};
use super::rows::{Rows, bf16_bits, pair_rows};
use super::tile::{Engine, ROWS, add_products};
use super::{PackedActivation, ProductType, WeightLayout};
use crate::cpu::math::vectorised;
use crate::cpu::matrix::MatMut;
use crate::cpu::number::{Number, widen_row};
use crate::cpu::tensor::{contiguous, elements_of};
use crate::gelu::activated;

/// Groups and rows that are multiplied before the next ones are read: 98 KiB of a panel, and 590
/// KiB of inputs, which stay in a core's own cache for all panels.
const DEPTH: usize = 768;
const HEIGHT: usize = 16 * ROWS;
/// Up to this number of rows, each thread has one task: it reads its share of the weights in order.
const FEW: usize = 16;
/// Tasks per thread for more rows.
const TASKS: usize = 4;
/// Inputs of a panel that are transposed at a time.
const BLOCK: usize = 64;

impl ProductType {
    /// Weights per group of 32 bits.
    pub(super) fn group(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
            Self::Int4 => 8,
        }
    }
}

/// A linear layer with weights packed for [`packed_linear`](super::packed_linear). A clone shares
/// the layer.
#[derive(Clone, Debug)]
pub struct PackedLinear(Arc<Layer>);

#[derive(Debug)]
struct Layer {
    products: ProductType,
    engine: Engine,
    inputs: usize,
    outputs: usize,
    /// Number of strips of a panel.
    depth: usize,
    panels: Panels,
    /// Zeros if the layer has none, and after the last output.
    bias: Vec<f32>,
    /// For each output in 8 bits: its step, and the sum of its weights in steps.
    steps: Vec<f32>,
    totals: Vec<i32>,
    /// For each group of inputs in 4 bits of each panel.
    scales: Vec<nibbles::Scales>,
}

impl PackedLinear {
    /// Packs a weight in f32, f16 or bf16, and its bias.
    ///
    /// `None` if the weight is not on the CPU backend Flex, if the processor lacks the instructions
    /// (8 and 4 bits also have portable loops with the same results), or if sums of 8-bit products
    /// could overflow.
    ///
    /// # Panics
    ///
    /// Panics if the length of the bias is not that of the layer's output.
    pub fn new(
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        layout: WeightLayout,
        products: ProductType,
    ) -> Option<Self> {
        let engine = Engine::detected(products);
        if engine == Engine::Plain && !products.is_portable() {
            return None;
        }
        // The numbers are read where they are.
        let weight = match weight.is_autodiff() {
            true => weight.clone().inner(),
            false => weight.clone(),
        };
        let weight = weight.try_into_primitive::<Flex>().ok()?;
        let bias = bias.map(|bias| bias.clone().into_data().iter::<f32>().collect());
        Self::pack(weight, bias, layout, products, engine)
    }

    /// A layer from a weight already in 8 bits, and its bias. It equals a layer whose weight was
    /// rounded to these values.
    ///
    /// `None` if the data do not match [`Int8Weight`], or if sums of products could overflow.
    ///
    /// # Panics
    ///
    /// Panics if the length of the bias is not that of the layer's output.
    pub fn from_int8(weight: &Int8Weight, bias: Option<&Tensor<1>>) -> Option<Self> {
        let [inputs, outputs] = weight.shape()?;
        let numbers = weight.weights.as_slice::<i8>().ok()?;
        let bias = bias.map(|bias| bias.clone().into_data().iter::<f32>().collect());
        let products = ProductType::Int8;
        let engine = Engine::detected(products);
        let mut layer = Layer::empty([inputs, outputs], bias, products, engine)?;
        layer.fill_with_bytes(numbers, &weight.steps);
        Some(Self(Arc::new(layer)))
    }

    fn pack(
        weight: FlexTensor,
        bias: Option<Vec<f32>>,
        layout: WeightLayout,
        products: ProductType,
        engine: Engine,
    ) -> Option<Self> {
        let weight = contiguous(weight);
        let shape = weight.layout().shape();
        let (inputs, outputs) = match layout {
            WeightLayout::InOut => (shape[0], shape[1]),
            WeightLayout::OutIn => (shape[1], shape[0]),
        };
        let mut layer = Layer::empty([inputs, outputs], bias, products, engine)?;
        match weight.dtype() {
            DType::F32 => layer.fill(elements_of::<f32>(&weight), layout),
            DType::F16 => layer.fill(elements_of::<f16>(&weight), layout),
            DType::BF16 => layer.fill(elements_of::<bf16>(&weight), layout),
            _ => return None,
        }
        Some(Self(Arc::new(layer)))
    }

    /// The type of the products.
    pub fn products(&self) -> ProductType {
        self.0.products
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.0.inputs
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.0.outputs
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        let layer = &*self.0;
        layer.panels.bytes()
            + size_of_val(&layer.bias[..])
            + size_of_val(&layer.steps[..])
            + size_of_val(&layer.totals[..])
            + size_of_val(&layer.scales[..])
    }

    /// Rows through the layer. `[N, out]`
    pub(super) fn forward(&self, x: &[f32], activation: PackedActivation) -> Vec<f32> {
        self.0.forward(x, activation, self.0.engine)
    }

    /// Packs a matrix in bf16, `[in, out]`, for products in bf16. `None` if the processor lacks the
    /// instructions.
    pub(crate) fn of_bf16(matrix: &[bf16], [inputs, outputs]: [usize; 2]) -> Option<Self> {
        let products = ProductType::Bf16;
        let engine = Engine::detected(products);
        if engine == Engine::Plain {
            return None;
        }
        let mut layer = Layer::empty([inputs, outputs], None, products, engine)?;
        layer.fill_with_bf16(matrix);
        Some(Self(Arc::new(layer)))
    }

    /// Rows in bf16 through a layer of products in bf16. `[N, out]`
    pub(crate) fn rows_of_bf16(&self, x: &[bf16]) -> Vec<f32> {
        self.products_with(&Rows::of_bf16(x, self.0.inputs))
    }

    /// The columns of a matrix `[in, N]` in bf16 through a layer of products in bf16. `[N, out]`
    pub(crate) fn columns_of_bf16(&self, x: &[bf16], count: usize) -> Vec<f32> {
        self.products_with(&Rows::columns_of_bf16(x, count))
    }

    /// Adds what [`Self::columns_of_bf16`] returns to `out`.
    pub(crate) fn add_columns_of_bf16(&self, x: &[bf16], out: &mut [f32]) {
        let layer = &*self.0;
        let count = out.len() / layer.outputs.max(1);
        let rows = Rows::columns_of_bf16(x, count);
        layer.write_products(&rows, PackedActivation::Identity, layer.engine, out, true);
    }

    fn products_with(&self, rows: &Rows<'_>) -> Vec<f32> {
        let layer = &*self.0;
        layer.products_with(rows, PackedActivation::Identity, layer.engine)
    }
}

impl Layer {
    /// A layer of zeros; `None` if sums of 8-bit products could overflow.
    fn empty(
        [inputs, outputs]: [usize; 2],
        bias: Option<Vec<f32>>,
        products: ProductType,
        engine: Engine,
    ) -> Option<Self> {
        if products == ProductType::Int8 && inputs > MOST_INPUTS {
            return None;
        }
        let panels = outputs.div_ceil(COLUMNS);
        let width = panels * COLUMNS;
        let mut bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
        assert!(
            bias.len() == outputs,
            "packed_linear: a bias of {} numbers for {outputs} outputs",
            bias.len()
        );
        bias.resize(width, 0.0);
        let of_outputs = match products {
            ProductType::Int8 => width,
            _ => 0,
        };
        let depth = match products {
            ProductType::Int4 => inputs.div_ceil(nibbles::GROUP) * nibbles::STRIPS,
            _ => inputs.div_ceil(products.group()),
        };
        let groups = match products {
            ProductType::Int4 => panels * depth / nibbles::STRIPS,
            _ => 0,
        };
        Some(Self {
            products,
            engine,
            inputs,
            outputs,
            depth,
            panels: Panels::zeros(panels, depth),
            bias,
            steps: vec![0.0; of_outputs],
            totals: vec![0; of_outputs],
            scales: vec![[0; COLUMNS]; groups],
        })
    }

    /// Packs weights already in 8 bits, `[in, out]`, and a step per output.
    fn fill_with_bytes(&mut self, weight: &[i8], steps: &[f32]) {
        let (outputs, depth) = (self.outputs, self.depth.max(1));
        self.steps[..outputs].copy_from_slice(steps);
        let strips = self.panels.strips_mut().par_chunks_mut(depth).enumerate();
        let totals = self.totals.par_chunks_mut(COLUMNS);
        strips.zip(totals).for_each(|((panel, strips), totals)| {
            let first = panel * COLUMNS;
            let width = COLUMNS.min(outputs - first);
            let rows = weight.chunks_exact(outputs).enumerate();
            for (input, row) in rows {
                let strip = &mut strips[input / 4];
                let columns = strip.iter_mut().zip(&mut *totals);
                for ((group, total), &byte) in columns.zip(&row[first..first + width]) {
                    *group |= u32::from(byte as u8) << (8 * (input % 4));
                    *total += i32::from(byte);
                }
            }
        });
    }

    /// Packs weights in bf16, `[in, out]`, in pairs.
    fn fill_with_bf16(&mut self, weight: &[bf16]) {
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
    fn fill<T: Number>(&mut self, weight: &[T], layout: WeightLayout) {
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

    fn forward(&self, x: &[f32], activation: PackedActivation, engine: Engine) -> Vec<f32> {
        let rows = Rows::new(x, self.inputs, self.products);
        self.products_with(&rows, activation, engine)
    }

    fn products_with(
        &self,
        rows: &Rows<'_>,
        activation: PackedActivation,
        engine: Engine,
    ) -> Vec<f32> {
        let mut out = vec![0.0; rows.count * self.outputs];
        self.write_products(rows, activation, engine, &mut out, false);
        out
    }

    /// Writes the outputs of rows to `out`, or adds them without an activation. `[N, out]`
    fn write_products(
        &self,
        rows: &Rows<'_>,
        activation: PackedActivation,
        engine: Engine,
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
        views
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .for_each(|(task, mut out)| {
                let first = task * share;
                let panels = first..panels.min(first + share);
                Task {
                    layer: self,
                    engine,
                    rows,
                    activation,
                    accumulate,
                }
                .compute(panels, n, &mut out);
            });
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

/// Some panels of a layer, which are multiplied by all rows.
struct Task<'a> {
    layer: &'a Layer,
    engine: Engine,
    rows: &'a Rows<'a>,
    activation: PackedActivation,
    /// Whether sums in f32 begin with the numbers that are in the output.
    accumulate: bool,
}

impl Task<'_> {
    /// Writes the outputs of some panels to `out`, which has their columns.
    fn compute(&self, panels: core::ops::Range<usize>, n: usize, out: &mut MatMut<'_>) {
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
                        let place = Place {
                            panel,
                            column: (panel - panels.start) * COLUMNS,
                            row,
                            count,
                        };
                        self.tile(place, strips, from, out);
                    }
                }
            }
        }
    }

    /// Adds the products of a tile's rows with some strips to `out`, and finishes them with the
    /// last strip.
    fn tile(&self, place: Place, strips: &[Strip], from: usize, out: &mut MatMut<'_>) {
        let Place {
            panel,
            column,
            row,
            count,
        } = place;
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
                nibbles::add_products(self.engine, rows, count, strips, scales, &mut sums);
            }
            products => {
                let rows = self.rows.tile(row, count, from);
                add_products(self.engine, products, rows, strips, &mut sums);
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
struct Place {
    panel: usize,
    /// Its first column in the task's part of the output.
    column: usize,
    row: usize,
    count: usize,
}

#[cfg(test)]
#[allow(clippy::print_stderr)] // what a processor lacks is said
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    /// Numbers between -1 and 1, the same on every run, some of them zero or large.
    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
        (0..len)
            .map(|i| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                let x = state as f32 / (1_u64 << 31) as f32 - 1.0;
                match i % 41 {
                    7 => 0.0,
                    11 => 30.0 * x,
                    _ => x,
                }
            })
            .collect()
    }

    const SIZES: [[usize; 2]; 7] = [
        [1, 1],
        [5, 3],
        [67, 131],
        [64, 32],
        [130, 33],
        [3100, 40],
        [801, 96],
    ];

    fn layer(
        [inputs, outputs]: [usize; 2],
        products: ProductType,
        engine: Engine,
        layout: WeightLayout,
    ) -> PackedLinear {
        let weights = numbers(inputs * outputs, 3);
        let data = match layout {
            WeightLayout::InOut => TensorData::new(weights, [inputs, outputs]),
            WeightLayout::OutIn => {
                let turned = (0..outputs)
                    .flat_map(|m| (0..inputs).map(move |k| [k, m]))
                    .map(|[k, m]| weights[k * outputs + m])
                    .collect();
                TensorData::new(turned, [outputs, inputs])
            }
        };
        let bias = Some(numbers(outputs, 4));
        let data = FlexTensor::from_data(data);
        PackedLinear::pack(data, bias, layout, products, engine).unwrap()
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    const TYPES: [ProductType; 4] = ProductType::ALL;

    #[test]
    fn products_of_bytes_are_the_same_on_every_processor() {
        let engine = Engine::detected(ProductType::Int8);
        if engine == Engine::Plain {
            eprintln!(
                "this processor has no instructions for products of bytes: nothing to compare"
            );
        }
        for products in [ProductType::Int8, ProductType::Int4] {
            for size in SIZES {
                for activation in [PackedActivation::Identity, PackedActivation::GeluNew] {
                    let [fast, plain] = [engine, Engine::Plain].map(|engine| {
                        let layer = layer(size, products, engine, WeightLayout::InOut);
                        layer.forward(&numbers(size[0] * 29, 9), activation)
                    });
                    assert_eq!(bits(&fast), bits(&plain), "{products:?}, {size:?}");
                }
            }
        }
    }

    #[test]
    fn a_layer_of_rounded_weights_is_that_of_the_weights() {
        let engine = Engine::detected(ProductType::Int8);
        for size in SIZES {
            let weights = numbers(size[0] * size[1], 3);
            let rounded = Int8Weight::rounded(&weights, size);
            let bias = numbers(size[1], 4);
            let expected = layer(size, ProductType::Int8, engine, WeightLayout::InOut);
            let bias = Tensor::from_data(TensorData::new(bias, [size[1]]), &Default::default());
            let found = PackedLinear::from_int8(&rounded, Some(&bias)).unwrap();
            assert_eq!(found.bytes(), expected.bytes());
            let x = numbers(size[0] * 5, 9);
            let [found, expected] =
                [found, expected].map(|one| one.forward(&x, PackedActivation::Identity));
            assert_eq!(bits(&found), bits(&expected), "{size:?}");
        }
    }

    /// The plain loops sum in a different order.
    #[test]
    fn products_of_floats_are_near_those_of_plain_loops() {
        for products in [ProductType::F32, ProductType::Bf16] {
            let engine = Engine::detected(products);
            for size in SIZES {
                let [fast, plain] = [engine, Engine::Plain].map(|engine| {
                    let layer = layer(size, products, engine, WeightLayout::InOut);
                    layer.forward(&numbers(size[0] * 29, 9), PackedActivation::Identity)
                });
                let largest = plain.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
                for (found, expected) in fast.iter().zip(&plain) {
                    let off = (found - expected).abs() / largest;
                    assert!(off < 2e-6, "{products:?} {size:?}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_what_it_is_alone_on_any_number_of_threads() {
        for products in TYPES {
            for size in SIZES {
                let engine = Engine::detected(products);
                let layer = layer(size, products, engine, WeightLayout::InOut);
                let x = numbers(size[0] * 210, 5);
                let activation = PackedActivation::GeluNew;
                let all = layer.forward(&x, activation);
                for threads in [1, 3, 7] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let found = pool.unwrap().install(|| layer.forward(&x, activation));
                    assert_eq!(bits(&found), bits(&all), "{products:?} {size:?}");
                }
                for (from, count) in [(0, 1), (209, 1), (3, 2), (100, 8), (50, 13), (8, 193)] {
                    let part = &x[from * size[0]..][..count * size[0]];
                    let found = layer.forward(part, activation);
                    let among = &all[from * size[1]..][..count * size[1]];
                    assert_eq!(bits(&found), bits(among), "{products:?} {size:?}");
                }
            }
        }
    }

    #[test]
    fn both_layouts_are_the_same_layer() {
        for products in TYPES {
            for size in SIZES {
                let engine = Engine::detected(products);
                let [a, b] = [WeightLayout::InOut, WeightLayout::OutIn]
                    .map(|layout| layer(size, products, engine, layout))
                    .map(|layer| {
                        layer.forward(&numbers(size[0] * 2, 5), PackedActivation::Identity)
                    });
                assert_eq!(bits(&a), bits(&b), "{products:?} {size:?}");
            }
        }
    }

    /// The largest sums that 32 bits hold.
    #[test]
    fn sums_do_not_overflow() {
        let weight = TensorData::new(vec![-1.0_f32; MOST_INPUTS], [MOST_INPUTS, 1]);
        let of = |engine| {
            let layout = WeightLayout::InOut;
            let weight = FlexTensor::from_data(weight.clone());
            PackedLinear::pack(weight, None, layout, ProductType::Int8, engine).unwrap()
        };
        for engine in [Engine::Plain, Engine::detected(ProductType::Int8)] {
            for sign in [1.0, -1.0] {
                let x = vec![sign; MOST_INPUTS];
                let found = of(engine).forward(&x, PackedActivation::Identity)[0];
                let expected = -sign * MOST_INPUTS as f32;
                assert!(
                    (found / expected - 1.0).abs() < 1e-5,
                    "{found} for {expected}"
                );
            }
        }
        let more = TensorData::new(vec![1.0_f32; MOST_INPUTS + 1], [MOST_INPUTS + 1, 1]);
        let layout = WeightLayout::InOut;
        let more = FlexTensor::from_data(more);
        assert!(PackedLinear::pack(more, None, layout, ProductType::Int8, Engine::Plain).is_none());
    }

    #[test]
    fn no_rows_and_no_outputs() {
        for products in TYPES {
            let engine = Engine::detected(products);
            let some = layer([4, 3], products, engine, WeightLayout::InOut);
            assert!(some.forward(&[], PackedActivation::Identity).is_empty());
            let none = FlexTensor::from_data(TensorData::new(Vec::<f32>::new(), [4, 0]));
            let none =
                PackedLinear::pack(none, None, WeightLayout::InOut, products, engine).unwrap();
            assert!(
                none.forward(&[1.0; 8], PackedActivation::Identity)
                    .is_empty()
            );
        }
    }
}
