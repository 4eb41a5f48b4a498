//! The products on the Flex backend, by the kernel of packed layers.

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Bytes, DType, Shape, bf16};

use super::{Bf16MatmulOps, Bf16Weight, portable};
use crate::cpu::tensor::{contiguous, dense, elements, elements_of, is_f32};
use crate::packed_linear::{PackedLinear, rounded_to_bf16};

impl Bf16MatmulOps for Flex {
    fn rounded_to_bf16(x: FlexTensor) -> FlexTensor {
        if !is_f32(&x) {
            return portable::rounded::<Self>(x);
        }
        let x = contiguous(x);
        let out = Bytes::from_elems(rounded_to_bf16(elements(&x)));
        let shape: Shape = x.layout().shape().clone();
        FlexTensor::new(out, Layout::contiguous(shape), DType::BF16)
    }

    fn bf16_matmul_rounded(x: FlexTensor, weight: FlexTensor, packed: Bf16Weight) -> FlexTensor {
        match packed.layers() {
            Some([forward, _]) => rows_through(forward, x),
            None => portable::product::<Self>(x, weight),
        }
    }

    fn bf16_matmul_row_grad(
        grad: FlexTensor,
        weight: FlexTensor,
        packed: Bf16Weight,
    ) -> FlexTensor {
        match packed.layers() {
            Some([_, backward]) => rows_through(backward, grad),
            None => portable::product::<Self>(grad, weight.transpose(0, 1)),
        }
    }

    fn bf16_matmul_weight_grad(x: FlexTensor, grad: FlexTensor) -> FlexTensor {
        let [x, grad] = [x, grad].map(contiguous);
        let (n, k, m) = (x.shape()[0], x.shape()[1], grad.shape()[1]);
        match PackedLinear::of_bf16(elements_of::<bf16>(&grad), [n, m]) {
            Some(packed) => dense(packed.columns_of_bf16(elements_of::<bf16>(&x), k), [k, m]),
            None => portable::product::<Self>(x.transpose(0, 1), grad),
        }
    }
}

fn rows_through(layer: &PackedLinear, x: FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let out = layer.rows_of_bf16(elements_of::<bf16>(&x));
    dense(out, [x.shape()[0], layer.outputs()])
}
