//! Causal attention on packed q, k, v against its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, devices, tensor};
use bsbr_kernels::{causal_attention_packed, causal_attention_packed_plain};
use burn::tensor::{Device, Tensor};

type Attention = fn(Tensor<3>, usize, f64) -> Tensor<3>;

/// Output and gradient.
fn run(op: Attention, qkv: Tensor<3>, heads: usize) -> [Tensor<3>; 2] {
    let qkv = qkv.detach().require_grad();
    let out = op(qkv.clone(), heads, 0.3);
    let weight = tensor(out.dims(), 4, 1.0, &out.device());
    let grads = (out.clone() * weight).sum().backward();
    [out.inner(), qkv.grad(&grads).unwrap()]
}

fn input([b, h, n, d]: [usize; 4], device: &Device) -> Tensor<3> {
    tensor([b, n, 3 * h * d], 1, 1.0, device)
}

#[test]
fn equals_plain() {
    for device in devices() {
        for shape in [
            [1, 1, 1, 5],
            [3, 2, 65, 48],
            [1, 3, 257, 64],
            [2, 1, 129, 80],
        ] {
            let qkv = input(shape, &device);
            let [out, grad] = run(causal_attention_packed, qkv.clone(), shape[1]);
            let [plain_out, plain_grad] = run(causal_attention_packed_plain, qkv, shape[1]);
            assert_close(out, plain_out, 2e-5, &format!("out at {shape:?}"));
            assert_close(grad, plain_grad, 2e-5, &format!("gradient at {shape:?}"));
        }
    }
}

#[test]
fn takes_views() {
    for device in devices() {
        let qkv = tensor([2, 48, 70], 1, 1.0, &device)
            .swap_dims(1, 2)
            .flip([1]);
        let [out, grad] = run(causal_attention_packed, qkv.clone(), 2);
        let [plain_out, plain_grad] = run(causal_attention_packed_plain, qkv, 2);
        assert_close(out, plain_out, 2e-5, "out");
        assert_close(grad, plain_grad, 2e-5, "gradient");
    }
}

#[test]
fn is_the_same_on_every_run() {
    for device in devices() {
        let first = run(causal_attention_packed, input([2, 3, 300, 16], &device), 3);
        assert_same(
            first,
            run(causal_attention_packed, input([2, 3, 300, 16], &device), 3),
        );
    }
}

#[test]
#[should_panic(expected = "are not q, k and v")]
fn rejects_features_that_are_not_three_parts() {
    causal_attention_packed(tensor([1, 4, 32], 1, 1.0, &devices()[0]), 2, 1.0);
}
