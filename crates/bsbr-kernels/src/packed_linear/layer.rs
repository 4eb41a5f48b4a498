//! A packed layer.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, bf16, f16};

use super::bytes::MOST_INPUTS;
use super::int8::Int8Weight;
use super::nibbles;
use super::panels::{COLUMNS, Panels};
use super::rows::Rows;
use super::tile::Engine;
use super::{PackedActivation, ProductType, WeightLayout};
use crate::cpu::tensor::{contiguous, elements_of};

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
pub(super) struct Layer {
    pub(super) products: ProductType,
    pub(super) engine: Engine,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Number of strips of a panel.
    pub(super) depth: usize,
    pub(super) panels: Panels,
    /// Zeros if the layer has none, and after the last output.
    pub(super) bias: Vec<f32>,
    /// For each output in 8 bits: its step, and the sum of its weights in steps.
    pub(super) steps: Vec<f32>,
    pub(super) totals: Vec<i32>,
    /// For each group of inputs in 4 bits of each panel.
    pub(super) scales: Vec<nibbles::Scales>,
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
        if numbers.contains(&i8::MIN) {
            return None;
        }
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
        let rows = Rows::new(x, self.0.inputs, self.0.products);
        self.0.outputs_of(&rows, activation)
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
        let rows = Rows::of_bf16(x, self.0.inputs);
        self.0.outputs_of(&rows, PackedActivation::Identity)
    }

    /// The columns of a matrix `[in, N]` in bf16 through a layer of products in bf16. `[N, out]`
    pub(crate) fn columns_of_bf16(&self, x: &[bf16], count: usize) -> Vec<f32> {
        let rows = Rows::columns_of_bf16(x, count);
        self.0.outputs_of(&rows, PackedActivation::Identity)
    }

    /// Adds what [`Self::columns_of_bf16`] returns to `out`.
    pub(crate) fn add_columns_of_bf16(&self, x: &[bf16], out: &mut [f32]) {
        let layer = &*self.0;
        let count = out.len() / layer.outputs.max(1);
        let rows = Rows::columns_of_bf16(x, count);
        layer.write_outputs(&rows, PackedActivation::Identity, out, true);
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
}

#[cfg(test)]
mod tests;
