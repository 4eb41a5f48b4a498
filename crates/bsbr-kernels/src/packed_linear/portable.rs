//! The definition of packed layers, and layers for tensors of any backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, Tensor, TensorData, read_sync};

use super::{PackedActivation, PackedLinear, ProductType};
use crate::gelu::gelu_new_plain;

/// [`packed_linear`](super::packed_linear) composed of Burn's operations, from the unpacked weight
/// `[in, out]` and bias: the definition with which tests compare the fused form.
pub fn packed_linear_plain(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    products: ProductType,
    activation: PackedActivation,
) -> Tensor<2> {
    let [x, weight] = match products {
        ProductType::F32 => [x, weight],
        ProductType::Bf16 => [x, weight].map(|x| x.cast(DType::BF16).cast(DType::F32)),
        ProductType::Int8 => {
            let step = weight.clone().abs().max_dim(0).div_scalar(127.0);
            let none = step.clone().equal_elem(0.0);
            let weight = (weight / step.clone().mask_fill(none, 1.0)).round() * step;
            let low = x.clone().min_dim(1).clamp_max(0.0);
            let high = x.clone().max_dim(1).clamp_min(0.0);
            let step = high.div_scalar(255.0) - low.clone().div_scalar(255.0);
            let step = step.clone().mask_fill(step.equal_elem(0.0), 1.0);
            let inverse = step.clone().recip();
            let zero = (low.neg() * inverse.clone()).round();
            let bytes = ((x * inverse).round() + zero.clone()).clamp(0.0, 255.0);
            [(bytes - zero) * step, weight]
        }
        ProductType::Int4 => [rounded_inputs(x), rounded_weights(weight)],
    };
    let out = x.matmul(weight) + bias.unsqueeze();
    match activation {
        PackedActivation::Identity => out,
        PackedActivation::GeluNew => gelu_new_plain(out),
    }
}

/// Inputs of a group with weights in 4 bits.
const GROUP: usize = 32;

/// Inputs `[N, in]` rounded to 255 levels per group.
fn rounded_inputs(x: Tensor<2>) -> Tensor<2> {
    let [n, inputs] = x.dims();
    let groups = inputs.div_ceil(GROUP);
    let missing = Tensor::zeros([n, groups * GROUP - inputs], &x.device());
    let x: Tensor<3> = Tensor::cat(vec![x, missing], 1).reshape([n, groups, GROUP]);
    let step = x.clone().abs().max_dim(2).div_scalar(127.0);
    let none = step.clone().equal_elem(0.0);
    let inverse = step.clone().mask_fill(none, 1.0).recip();
    let rounded = (x * inverse).round() * step;
    rounded.reshape([n, groups * GROUP]).narrow(1, 0, inputs)
}

/// Weights `[in, out]` rounded to 16 levels per group and output.
fn rounded_weights(weight: Tensor<2>) -> Tensor<2> {
    let [inputs, outputs] = weight.dims();
    let groups = inputs.div_ceil(GROUP);
    let missing = Tensor::zeros([groups * GROUP - inputs, outputs], &weight.device());
    let all: Tensor<3> = Tensor::cat(vec![weight, missing], 0).reshape([groups, GROUP, outputs]);
    let (low, high) = (all.clone().min_dim(1), all.clone().max_dim(1));
    // The largest weight, of either sign, is -8 scales.
    let is_low = high.clone().lower(low.clone().neg());
    let scale = high.mask_where(is_low, low).div_scalar(-8.0);
    let scale = scale.cast(DType::BF16).cast(DType::F32);
    let none = scale.clone().equal_elem(0.0);
    let scales = (all / scale.clone().mask_fill(none, 1.0)).round();
    let rounded = scales.clamp(-8.0, 7.0) * scale;
    rounded
        .reshape([groups * GROUP, outputs])
        .narrow(0, 0, inputs)
}

/// The operation on tensors of any backend, through the host.
pub(super) fn on_host<B: Backend>(
    x: FloatTensor<B>,
    layer: &PackedLinear,
    activation: PackedActivation,
) -> FloatTensor<B> {
    let (device, shape) = (x.device(), x.shape());
    let data = read_sync(B::float_into_data(x)).map(|data| data.iter::<f32>().collect());
    // Unreadable data gives NaN.
    let x: Vec<f32> = data.unwrap_or_else(|_| vec![f32::NAN; shape.num_elements()]);
    let out = TensorData::new(layer.forward(&x, activation), [shape[0], layer.outputs()]);
    B::float_from_data(out, &device)
}
