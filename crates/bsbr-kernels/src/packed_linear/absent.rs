//! What stands in the place of packed layers where the CPU backend that has them is not compiled in.

use burn::tensor::Tensor;

use super::{PackedActivation, ProductType, WeightLayout};

/// A layer that cannot be made: [`Self::new`] gives none.
#[derive(Clone, Debug)]
pub enum PackedLinear {}

impl PackedLinear {
    /// No layer.
    pub fn new(
        _: &Tensor<2>,
        _: Option<&Tensor<1>>,
        _: WeightLayout,
        _: ProductType,
    ) -> Option<Self> {
        None
    }

    /// Numbers of a row that goes in.
    pub fn inputs(&self) -> usize {
        match *self {}
    }

    /// Numbers of a row that comes out.
    pub fn outputs(&self) -> usize {
        match *self {}
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        match *self {}
    }

    pub(super) fn forward(&self, _: &[f32], _: PackedActivation) -> Vec<f32> {
        match *self {}
    }
}
