//! Products on devices with CubeCL kernels, in one type.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};

use super::MixedMatmulOps;
use crate::cube::product;

impl MixedMatmulOps for Cube {
    fn mixed_matmul(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = match weight.dtype() == x.dtype() {
            true => weight,
            false => Self::float_cast(weight, x.dtype().into()),
        };
        match product(&x, &weight) {
            Some(out) => out,
            None => Self::float_matmul(x, weight),
        }
    }
}
