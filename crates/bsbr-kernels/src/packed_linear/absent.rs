//! Stands in for packed layers if the CPU backend that has them is not compiled in.

use burn::tensor::Tensor;

use super::{Int8Weight, PackedActivation, ProductType, WeightLayout};

/// A layer that cannot exist: [`Self::new`] returns `None`.
#[derive(Clone, Debug)]
pub enum PackedLinear {}

impl PackedLinear {
    /// Always `None`.
    pub fn new(
        _: &Tensor<2>,
        _: Option<&Tensor<1>>,
        _: WeightLayout,
        _: ProductType,
    ) -> Option<Self> {
        None
    }

    /// Always `None`.
    pub fn from_int8(_: &Int8Weight, _: Option<&Tensor<1>>) -> Option<Self> {
        None
    }

    /// The type of the products.
    pub fn products(&self) -> ProductType {
        match *self {}
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        match *self {}
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        match *self {}
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        match *self {}
    }

    pub(super) fn forward(&self, _: &[f32], _: PackedActivation) -> Vec<f32> {
        match *self {}
    }
}
