//! Packed copies of weights, for faster products.

use bsbr_kernels::{PackedActivation, PackedLinear, ProductType, WeightLayout, packed_linear};
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};

use crate::block::Block;
use crate::error::PackError;
use crate::layers::Conv1d;
use crate::model::Gpt2;

/// The packed form of a layer, if any.
///
/// It is valid only for the weights that it was made from: mapping or moving the parameters of a
/// model drops it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packing(Option<PackedLinear>);

impl Packing {
    fn new(
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        layout: WeightLayout,
        products: ProductType,
    ) -> Result<Self, PackError> {
        let layer = PackedLinear::new(weight, bias, layout, products);
        let [first, second] = weight.dims();
        let layer = layer.ok_or_else(|| PackError::NotPossible {
            products,
            shape: [first, second],
            device: format!("{:?}", weight.device()),
        })?;
        Ok(Self(Some(layer)))
    }

    /// Rows through the packed layer; `None` if there is none, or if gradients are needed.
    pub(crate) fn forward(&self, x: &Tensor<2>, activation: PackedActivation) -> Option<Tensor<2>> {
        match &self.0 {
            Some(layer) if !x.is_autodiff() => Some(packed_linear(x.clone(), layer, activation)),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, PackedLinear::bytes)
    }
}

impl Module for Packing {
    fn visit<V: ModuleVisitor>(&self, _: &mut V) {}

    fn map<M: ModuleMapper>(self, _: &mut M) -> Self {
        Self::default()
    }

    fn to_device(self, _: &Device) -> Self {
        Self::default()
    }

    fn fork(self, _: &Device) -> Self {
        Self::default()
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn train(self) -> Self {
        Self::default()
    }
}

impl ModuleDisplayDefault for Packing {
    fn content(&self, content: Content) -> Option<Content> {
        let layer = format!("{} packed bytes", self.bytes());
        content.add_formatted(&layer).optional()
    }
}

impl ModuleDisplay for Packing {}

impl Gpt2 {
    /// The model with the weights of its linear layers and of its output layer packed for products
    /// of the given type. Passes without gradients use them.
    ///
    /// Call this last: mapping the parameters afterwards drops the packed form, but replacing a
    /// weight directly does not. The original weights stay, and take no memory if they are in a
    /// mapped file.
    ///
    /// # Errors
    ///
    /// [`PackError`] if the device or CPU does not support such products.
    pub fn with_packed_weights(mut self, products: ProductType) -> Result<Self, PackError> {
        for block in &mut self.h {
            for layer in layers(block) {
                let (weight, bias) = (layer.weight.val(), layer.bias.val());
                layer.packing = Packing::new(&weight, Some(&bias), WeightLayout::InOut, products)?;
            }
        }
        self.head_packing =
            Packing::new(&self.output_table(), None, WeightLayout::OutIn, products)?;
        Ok(self)
    }

    /// Size of packed weights in bytes; 0 if there are none.
    pub fn packed_bytes(&self) -> usize {
        let blocks = self.h.iter().flat_map(|block| {
            let mlp = &block.mlp;
            let attention = &block.attn;
            [&attention.c_attn, &attention.c_proj, &mlp.c_fc, &mlp.c_proj]
        });
        let blocks: usize = blocks.map(|layer| layer.packing.bytes()).sum();
        blocks + self.head_packing.bytes()
    }
}

fn layers(block: &mut Block) -> [&mut Conv1d; 4] {
    let (attention, mlp) = (&mut block.attn, &mut block.mlp);
    [
        &mut attention.c_attn,
        &mut attention.c_proj,
        &mut mlp.c_fc,
        &mut mlp.c_proj,
    ]
}
