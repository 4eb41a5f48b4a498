//! Bias and GELU in one pass on devices with CubeCL kernels.

use burn::backend::Cube;
use burn::backend::tensor::FloatTensor;

use super::BiasOps;
use crate::gelu::{GeluOps, activated_cube};

impl BiasOps for Cube {
    fn add_bias_gelu(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        match activated_cube(&x, Some(&bias)) {
            Some(out) => out,
            None => Self::gelu_new(<Self as BiasOps>::add_bias(x, bias)),
        }
    }
}
