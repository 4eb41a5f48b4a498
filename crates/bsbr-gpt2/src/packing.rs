//! Packed copies of weights, for faster products.

use std::sync::Arc;

use bsbr_kernels::{
    Bf16Weight, Int8Weight, PackedActivation, PackedLinear, ProductType, WeightLayout,
    packed_linear,
};
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    ParamId,
};
use burn::tensor::{Device, Tensor};

use crate::block::Block;
use crate::error::PackError;
use crate::layers::Conv1d;
use crate::model::Gpt2;

/// Names of the linear layers of a block.
pub const LINEAR_LAYERS: [&str; 4] = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];

/// The packed form of a layer, if any.
///
/// It is valid only for the weights that it was made from: mapping or moving the parameters of a
/// model drops it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Packing {
    /// None.
    #[default]
    None,
    /// For passes without gradients.
    Inference(PackedLinear),
    /// For passes on an autodiff device.
    Training(Bf16Weight),
}

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
        Ok(Self::Inference(layer))
    }

    /// Rows through the packed layer; `None` if there is none, or if gradients are needed.
    pub(crate) fn forward(&self, x: &Tensor<2>, activation: PackedActivation) -> Option<Tensor<2>> {
        match self {
            Self::Inference(layer) if !x.is_autodiff() => {
                Some(packed_linear(x.clone(), layer, activation))
            }
            _ => None,
        }
    }

    /// `x · weight`, by the packed form for passes with gradients if there is one.
    pub(crate) fn product(&self, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Training(packed) if x.is_autodiff() => {
                bsbr_kernels::bf16_matmul(x, weight, packed)
            }
            _ => bsbr_kernels::mixed_matmul(x, weight),
        }
    }

    /// The layer for passes without gradients.
    fn layer(&self) -> Option<&PackedLinear> {
        match self {
            Self::Inference(layer) => Some(layer),
            _ => None,
        }
    }

    /// Whether it is already packed for these products.
    fn is_for(&self, products: ProductType) -> bool {
        self.layer().map(PackedLinear::products) == Some(products)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Inference(layer) => layer.bytes(),
            Self::Training(weight) => weight.bytes(),
        }
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
                if layer.packing.is_for(products) {
                    continue;
                }
                let (weight, bias) = (layer.weight.val(), layer.bias.val());
                layer.packing = Packing::new(&weight, Some(&bias), WeightLayout::InOut, products)?;
            }
        }
        self.with_packed_head(products)
    }

    fn with_packed_head(mut self, products: ProductType) -> Result<Self, PackError> {
        if !self.head_packing.is_for(products) {
            let table = self.output_table();
            self.head_packing = Packing::new(&table, None, WeightLayout::OutIn, products)?;
        }
        Ok(self)
    }

    /// The model with linear layers from weights already in 8 bits, by their names, such as
    /// `h.0.attn.c_attn`, and with the output layer packed from its table. The layers' own weights
    /// should equal these in f32.
    ///
    /// # Errors
    ///
    /// [`PackError`] if a weight is missing or has another shape, or if the device does not support
    /// such products.
    pub fn with_int8_weights(
        mut self,
        weight: impl Fn(&str) -> Option<Arc<Int8Weight>>,
    ) -> Result<Self, PackError> {
        for (number, block) in self.h.iter_mut().enumerate() {
            for (layer, name) in layers(block).into_iter().zip(LINEAR_LAYERS) {
                let shape = layer.weight.lazy_shape().dims();
                let device = layer.bias.val().device();
                let refused = || PackError::NotPossible {
                    products: ProductType::Int8,
                    shape,
                    device: format!("{device:?}"),
                };
                let found = weight(&format!("h.{number}.{name}")).ok_or_else(refused)?;
                if found.shape() != Some(shape) || !bsbr_kernels::fuses_mixed_matmul(&device) {
                    return Err(refused());
                }
                let packed = PackedLinear::from_int8(&found, Some(&layer.bias.val()));
                layer.packing = Packing::Inference(packed.ok_or_else(refused)?);
            }
        }
        self.with_packed_head(ProductType::Int8)
    }

    /// The model with the weights of its linear layers and of its output layer packed for products
    /// in bf16 in passes on autodiff devices. Their gradients are in f32, as are all other
    /// operations.
    ///
    /// The packed form is that of the current weights. Mapping the parameters drops it, as every
    /// step of an optimiser does; [`Self::with_packed_weights_of`] attaches it to a copy of the
    /// model with the same weights. On processors without AVX2 and on other devices than
    /// Flex nothing is packed, and each pass rounds the weights.
    pub fn with_bf16_training(mut self) -> Self {
        for block in &mut self.h {
            for layer in layers(block) {
                layer.packing = Packing::Training(Bf16Weight::new(&layer.weight.val()));
            }
        }
        let head = Bf16Weight::of_table(&self.output_table());
        self.head_packing = Packing::Training(head);
        self
    }

    /// The output layer packed by [`Self::with_bf16_training`], for the cross entropy of its logits.
    pub fn bf16_output(&self) -> Option<&Bf16Weight> {
        match &self.head_packing {
            Packing::Training(weight) => Some(weight),
            _ => None,
        }
    }

    /// The model with the packed weights of another in every layer that shares the other's weights,
    /// as in a converted model: nothing is packed again.
    pub fn with_packed_weights_of(mut self, other: &Self) -> Self {
        for (block, others) in self.h.iter_mut().zip(&other.h) {
            share(block, others);
        }
        if self.output_id() == other.output_id() {
            self.head_packing = other.head_packing.clone();
        }
        self
    }

    fn output_id(&self) -> ParamId {
        let head = self.lm_head.as_ref();
        head.map_or(self.wte.weight.id, |head| head.weight.id)
    }

    /// The type of products of the packed weights, if any.
    pub fn products(&self) -> Option<ProductType> {
        self.head_packing.layer().map(PackedLinear::products)
    }

    /// Size of packed weights in bytes; 0 if there are none.
    pub fn packed_bytes(&self) -> usize {
        let blocks = self.h.iter().flat_map(linear_layers);
        let blocks: usize = blocks.map(|layer| layer.packing.bytes()).sum();
        blocks + self.head_packing.bytes()
    }
}

impl Block {
    /// The block with the packed weights of another in every layer that shares the other's weights.
    pub fn with_packed_weights_of(mut self, other: &Self) -> Self {
        share(&mut self, other);
        self
    }
}

fn share(block: &mut Block, other: &Block) {
    for (layer, other) in layers(block).into_iter().zip(linear_layers(other)) {
        if layer.weight.id == other.weight.id {
            layer.packing = other.packing.clone();
        }
    }
}

fn linear_layers(block: &Block) -> [&Conv1d; 4] {
    let (attention, mlp) = (&block.attn, &block.mlp);
    [&attention.c_attn, &attention.c_proj, &mlp.c_fc, &mlp.c_proj]
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
