//! Biases, with and without GELU, against their plain forms.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, devices, tensor};
use bsbr_kernels::{add_bias, add_bias_gelu, add_bias_gelu_plain, add_bias_plain, gelu_new};
use burn::tensor::Tensor;

type Op = fn(Tensor<2>, Tensor<1>) -> Tensor<2>;

/// Output, and the gradients of both inputs.
fn run(op: Op, x: Tensor<2>, bias: Tensor<1>) -> ([Tensor<2>; 2], Tensor<1>) {
    let weight = tensor(x.dims(), 9, 1.0, &x.device());
    let (x, bias) = (x.require_grad(), bias.require_grad());
    let out = op(x.clone(), bias.clone());
    let grads = (out.clone() * weight).sum().backward();
    let dx = x.grad(&grads).unwrap();
    ([out.inner(), dx], bias.grad(&grads).unwrap())
}

#[test]
fn equals_plain() {
    let pairs: [(Op, Op); 2] = [
        (add_bias, add_bias_plain),
        (add_bias_gelu, add_bias_gelu_plain),
    ];
    for device in devices() {
        for (fused, plain) in pairs {
            for shape in [[1, 1], [3, 5], [63, 65], [3, 20_000]] {
                let x = tensor(shape, 7, 3.0, &device);
                let bias = tensor([shape[1]], 8, 1.0, &device);
                // Without autodiff it is another path.
                let alone = fused(x.clone().inner(), bias.clone().inner());
                let (fused, fused_bias) = run(fused, x.clone(), bias.clone());
                let (plain, plain_bias) = run(plain, x, bias);
                assert_close(alone, plain[0].clone(), 1e-6, "output alone");
                for (fused, plain) in fused.into_iter().zip(plain) {
                    assert_close(fused, plain, 1e-6, "output or gradient of x");
                }
                assert_close(fused_bias, plain_bias, 1e-5, "gradient of the bias");
            }
        }
    }
}

/// What one pass gives is what two give, bit for bit, and an input that is held stays as it was.
#[test]
fn one_pass_is_two() {
    for device in devices() {
        let make = || tensor([33, 70], 7, 3.0, &device).inner();
        let bias = tensor([70], 8, 1.0, &device).inner();
        let held = make();
        let one = add_bias_gelu(held.clone(), bias.clone());
        assert_same([held], [make()]);
        assert_same([one], [gelu_new(add_bias(make(), bias))]);
    }
}

#[test]
fn takes_views() {
    for device in devices() {
        let x = tensor([40, 30], 7, 3.0, &device).inner().transpose();
        let bias = tensor([80], 8, 1.0, &device).inner().narrow(0, 20, 40);
        let plain = add_bias_plain(x.clone(), bias.clone());
        assert_close(add_bias(x, bias), plain, 1e-6, "output");
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_a_bias_of_another_length() {
    let device = &devices()[0];
    add_bias(tensor([2, 3], 1, 1.0, device), tensor([4], 1, 1.0, device));
}
