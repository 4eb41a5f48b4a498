//! Products in bf16 and their gradients against their plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking
#![allow(clippy::print_stderr)] // what a processor lacks is said

use crate::common::{assert_close, assert_same, devices, tensor};
use bsbr_kernels::{Bf16Weight, bf16_matmul, bf16_matmul_plain, prefers_bf16_matmul};
use burn::tensor::{DType, Device, Tensor};

/// Numbers of rows, inputs and outputs that no tile, panel or pair divides, and some that they do.
const SIZES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [3, 5, 3],
    [17, 67, 131],
    [1, 768, 40],
    [24, 64, 32],
    [199, 33, 96],
    [200, 130, 35],
    [1700, 24, 37],
    [13, 1601, 12],
];

/// Sums of some thousand products in another order. Products of bf16 are exact in f32.
const TOLERANCE: f32 = 3e-6;

fn devices_with_bf16() -> Vec<Device> {
    let has = |device: &Device| device.supports_dtype(DType::BF16);
    devices().into_iter().filter(has).collect()
}

/// The output of a product, and the gradients of x and weight from that of the output.
fn both_ways(x: &Tensor<2>, weight: &Tensor<2>, grad: &Tensor<2>) -> [Tensor<2>; 3] {
    let [x, weight] = [x, weight].map(|x| x.clone().require_grad());
    let packed = Bf16Weight::new(&weight);
    let out = bf16_matmul(x.clone(), weight.clone(), &packed);
    let mut grads = (out.clone() * grad.clone()).sum().backward();
    let [dx, dweight] = [&x, &weight].map(|x| x.grad_remove(&mut grads).unwrap());
    [out.inner(), dx, dweight]
}

#[test]
fn output_and_gradients_equal_plain() {
    for device in devices_with_bf16() {
        for [n, k, m] in SIZES {
            let x = tensor([n, k], 5, 3.0, &device) + 0.4;
            let weight = tensor([k, m], 3, 0.5, &device);
            let grad = tensor([n, m], 7, 0.01, &device);
            let [out, dx, dweight] = both_ways(&x, &weight, &grad);
            let [x, weight, grad] = [x, weight, grad].map(Tensor::inner);
            for (found, left, right, what) in [
                (out, x.clone(), weight.clone(), "output"),
                (dx, grad.clone(), weight.transpose(), "gradient of x"),
                (dweight, x.transpose(), grad, "gradient of the weight"),
            ] {
                assert_eq!(found.dtype(), DType::F32);
                let plain = bf16_matmul_plain(left, right);
                assert_close(found, plain, TOLERANCE, &format!("{what}: {n}, {k}, {m}"));
            }
        }
    }
}

/// It is not the product of numbers that are not rounded, but near it.
#[test]
fn rounding_is_that_of_bf16() {
    for device in devices_with_bf16() {
        let x = tensor([40, 300], 5, 3.0, &device);
        let weight = tensor([300, 50], 3, 0.5, &device);
        let packed = Bf16Weight::new(&weight);
        let exact = x.clone().matmul(weight.clone());
        let off = bf16_matmul(x, weight, &packed) - exact.clone();
        let norm = |x: Tensor<2>| x.powi_scalar(2).sum().into_scalar::<f32>().sqrt();
        let off = norm(off) / norm(exact);
        assert!((5e-4..4e-3).contains(&off), "{off}");
    }
}

#[test]
fn only_what_is_trained_has_a_gradient() {
    for device in devices_with_bf16() {
        let (x, weight) = (
            tensor::<2>([9, 20], 1, 1.0, &device),
            tensor::<2>([20, 7], 2, 1.0, &device),
        );
        let packed = Bf16Weight::new(&weight);
        for [x, weight] in [
            [x.clone().require_grad(), weight.clone()],
            [x, weight.require_grad()],
        ] {
            let out = bf16_matmul(x.clone(), weight.clone(), &packed);
            let grads = out.sum().backward();
            let found = [&x, &weight].map(|one| one.grad(&grads).is_some());
            assert_eq!(found, [&x, &weight].map(|one| one.is_require_grad()));
        }
    }
}

#[test]
fn takes_views() {
    let device = Device::flex().autodiff();
    let weight = tensor([90, 80], 6, 0.5, &device)
        .narrow(1, 3, 40)
        .narrow(0, 7, 61);
    let x = tensor([70, 9], 8, 1.0, &device)
        .transpose()
        .narrow(1, 4, 61);
    let grad = tensor([40, 9], 9, 1.0, &device).transpose();
    let found = both_ways(&x, &weight, &grad);
    let copies = [&x, &weight, &grad].map(|x| {
        let data = x.clone().into_data();
        Tensor::<2>::from_data(data, &device)
    });
    let expected = both_ways(&copies[0], &copies[1], &copies[2]);
    assert_same(found, expected);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let device = Device::flex().autodiff();
    for [n, k, m] in SIZES {
        let x = tensor([n, k], 5, 1.0, &device);
        let weight = tensor([k, m], 3, 0.5, &device);
        let grad = tensor([n, m], 7, 1.0, &device);
        let expected = both_ways(&x, &weight, &grad);
        for threads in [1, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let found = pool.unwrap().install(|| both_ways(&x, &weight, &grad));
            assert_same(found, expected.clone());
        }
    }
}

#[test]
fn a_weight_that_is_packed_is_shared_and_half_as_large_each_way() {
    let device = Device::flex();
    let packed = Bf16Weight::new(&tensor([256, 64], 1, 0.5, &device));
    if packed.bytes() == 0 {
        eprintln!("this processor has no products in bf16");
        return;
    }
    assert_eq!(packed.bytes(), 2 * 256 * 64 * 2 + 4 * (256 + 64));
    assert!(prefers_bf16_matmul(&device) && prefers_bf16_matmul(&device.autodiff()));
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_rows_of_another_length() {
    let device = Device::flex();
    let weight = tensor([4, 5], 1, 1.0, &device);
    let packed = Bf16Weight::new(&weight);
    bf16_matmul(tensor([2, 3], 1, 1.0, &device), weight, &packed);
}
