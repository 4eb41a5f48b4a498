//! The operation on the Flex backend.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::FloatDType;

use super::{PackedActivation, PackedLinear, PackedLinearOps};
use crate::cpu::tensor::{contiguous, dense, elements};
use burn::backend::TensorMetadata;

impl PackedLinearOps for Flex {
    fn packed_linear(
        x: FlexTensor,
        layer: PackedLinear,
        activation: PackedActivation,
    ) -> FlexTensor {
        let x = contiguous(Self::float_cast(x, FloatDType::F32));
        let n = x.shape()[0];
        let out = layer.forward(elements(&x), activation);
        dense(out, [n, layer.outputs()])
    }
}
