//! GELU against its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, devices, tensor, vec};
use bsbr_kernels::{gelu_new, gelu_new_plain};
use burn::tensor::Tensor;

/// Output and gradient.
fn run(op: fn(Tensor<2>) -> Tensor<2>, x: Tensor<2>) -> [Tensor<2>; 2] {
    let weight = tensor(x.dims(), 9, 1.0, &x.device());
    let x = x.require_grad();
    let out = op(x.clone());
    let grads = (out.clone() * weight).sum().backward();
    [out.inner(), x.grad(&grads).unwrap()]
}

#[test]
fn equals_plain() {
    for device in devices() {
        let cases = [
            ([1, 1], 1.0),
            ([3, 5], 3.0),
            ([63, 65], 6.0),
            ([257, 129], 12.0),
        ];
        for (shape, scale) in cases {
            let x = tensor(shape, 7, scale, &device);
            let [fused, fused_grad] = run(gelu_new, x.clone());
            let [plain, plain_grad] = run(gelu_new_plain, x);
            assert_close(fused, plain, 5e-7, "output");
            assert_close(fused_grad, plain_grad, 1e-6, "gradient");
        }
    }
}

#[test]
fn takes_views() {
    for device in devices() {
        let x = tensor([40, 30], 7, 3.0, &device)
            .transpose()
            .slice([3..20, 1..40]);
        let [fused, fused_grad] = run(gelu_new, x.clone());
        let [plain, plain_grad] = run(gelu_new_plain, x);
        assert_close(fused, plain, 5e-7, "output");
        assert_close(fused_grad, plain_grad, 1e-6, "gradient");
    }
}

#[test]
fn is_the_same_on_every_run() {
    for device in devices() {
        let x = tensor([129, 515], 7, 3.0, &device);
        assert_same(run(gelu_new, x.clone()), run(gelu_new, x));
    }
}

#[cfg(feature = "flex")]
#[test]
fn is_finite_far_out() {
    let device = burn::tensor::Device::flex().autodiff();
    let x = Tensor::<2>::from_data([[-1e30, -1e4, -20.0, 20.0, 1e4, 1e9]], &device);
    let [out, grad] = run(gelu_new, x);
    assert_eq!(vec(out), [0.0, 0.0, 0.0, 20.0, 1e4, 1e9]);
    let weight = vec(tensor([1, 6], 9, 1.0, &device));
    assert_eq!(vec(grad), [0.0, 0.0, 0.0, weight[3], weight[4], weight[5]]);
}

/// Nobody else holds the input of the first, which may therefore be overwritten.
#[test]
fn an_input_that_is_held_stays_as_it_was() {
    for device in devices() {
        let make = || tensor([33, 65], 7, 4.0, &device).inner();
        let held = make();
        let [alone, beside] = [gelu_new(make()), gelu_new(held.clone())];
        assert_same([alone], [beside]);
        assert_same([held], [make()]);
    }
}
