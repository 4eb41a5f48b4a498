//! Products of rows and weights of several types against their plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, cases, devices, tensor};
use bsbr_kernels::{fuses_mixed_matmul, mixed_matmul, mixed_matmul_plain};
use burn::tensor::{DType, Device, Tensor};

/// Rows on both sides of where the form changes, and sizes that no vector or panel divides.
const ROWS: [usize; 9] = [1, 12, 97, 2, 3, 9, 13, 96, 130];
const SIZES: [[usize; 2]; 6] = [
    [5, 3],
    [67, 131],
    [1, 1],
    [64, 48],
    [530, 200],
    [1100, 1030],
];

/// Of the types that a weight may have, those that the device has.
fn types(device: &Device) -> impl Iterator<Item = DType> {
    [DType::F32, DType::BF16, DType::F16]
        .into_iter()
        .filter(|&dtype| device.supports_dtype(dtype))
}

/// Sums of a thousand products of numbers up to 1 differ by some units of the last place of f32.
const TOLERANCE: f32 = 2e-6;

#[test]
fn equals_plain() {
    for device in devices().into_iter().map(Device::inner) {
        for dtype in types(&device) {
            for [k, m] in cases(2, SIZES) {
                let weight = tensor([k, m], 3, 1.0, &device).cast(dtype);
                let table = tensor([m, k], 4, 1.0, &device).cast(dtype).transpose();
                for n in cases(3, ROWS) {
                    let x = tensor([n, k], 5, 1.0, &device);
                    for (weight, what) in [(&weight, "weight"), (&table, "table")] {
                        let found = mixed_matmul(x.clone(), weight.clone());
                        assert_eq!(found.dtype(), DType::F32);
                        let plain = mixed_matmul_plain(x.clone(), weight.clone());
                        let what = format!("{n} rows, {what} {k} by {m} in {dtype:?}");
                        assert_close(found, plain, TOLERANCE, &what);
                    }
                }
            }
        }
    }
}

/// What the weight holds is not rounded again: a product with the identity gives it back, numbers
/// below the normal range too.
#[test]
fn every_weight_is_what_it_was() {
    for device in devices().into_iter().map(Device::inner) {
        for dtype in types(&device) {
            let numbers = [1.0, -0.1, 3e-7, 6e-8, -5e-5, 65504.0, 0.0, -1e-3];
            let weight = Tensor::<1>::from_data(numbers, &device)
                .repeat(&[24])
                .reshape([12, 16])
                .cast(dtype);
            for n in [12, 3] {
                let x = Tensor::<2>::eye(12, &device).narrow(0, 0, n);
                let found = mixed_matmul(x, weight.clone());
                let wide = weight.clone().narrow(0, 0, n).cast(DType::F32);
                assert_same([found], [wide]);
            }
        }
    }
}

#[test]
fn takes_views() {
    for device in devices().into_iter().map(Device::inner) {
        for dtype in types(&device) {
            let whole = tensor([90, 80], 6, 1.0, &device).cast(dtype);
            let views = [
                whole.clone().narrow(1, 7, 50).narrow(0, 3, 40),
                whole.clone().transpose().narrow(1, 5, 60).narrow(0, 1, 40),
                whole.clone().narrow(0, 10, 1).repeat(&[40, 1]),
                whole.flip([1]).narrow(0, 0, 40),
            ];
            for weight in views {
                for n in [2, 30] {
                    let x = tensor([40, n], 7, 1.0, &device).transpose();
                    let plain = mixed_matmul_plain(x.clone(), weight.clone());
                    let found = mixed_matmul(x, weight.clone());
                    assert_close(found, plain, TOLERANCE, &format!("{n} rows of a view"));
                }
            }
        }
    }
}

/// Large enough for panels in single precision too.
#[test]
fn takes_views_of_large_weights() {
    for device in devices().into_iter().map(Device::inner) {
        let whole = tensor([1100, 1100], 6, 1.0, &device);
        let views = [
            whole.clone().narrow(1, 7, 1030).narrow(0, 3, 1050),
            whole
                .clone()
                .transpose()
                .narrow(1, 5, 1030)
                .narrow(0, 1, 1050),
            whole.flip([1]).narrow(0, 0, 1050),
        ];
        for weight in views {
            for n in [2, 30] {
                let x = tensor([1050, n], 7, 1.0, &device).transpose();
                let plain = mixed_matmul_plain(x.clone(), weight.clone());
                let found = mixed_matmul(x, weight.clone());
                assert_close(found, plain, TOLERANCE, &format!("{n} rows of a view"));
            }
        }
    }
}

/// A row gives what it gives among others that are multiplied in the same form.
#[test]
fn rows_do_not_mix() {
    for device in devices().into_iter().map(Device::inner) {
        for dtype in types(&device) {
            let weight = tensor([200, 70], 8, 1.0, &device).cast(dtype);
            let x = tensor([2, 200], 9, 1.0, &device);
            for weight in [weight.clone(), weight.clone().transpose()] {
                let x = x.clone().narrow(1, 0, weight.dims()[0]);
                let all = mixed_matmul(x.clone(), weight.clone());
                for row in 0..2 {
                    let one = mixed_matmul(x.clone().narrow(0, row, 1), weight.clone());
                    let among = all.clone().narrow(0, row, 1);
                    match fuses_mixed_matmul(&device) && dtype != DType::F32 {
                        true => assert_same([one], [among]),
                        false => assert_close(one, among, TOLERANCE, "one of two rows"),
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_plain_form() {
    for device in devices() {
        for dtype in types(&device) {
            let run = |op: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
                let x = tensor([9, 30], 1, 1.0, &device).require_grad();
                let weight = tensor([30, 20], 2, 1.0, &device).cast(dtype).require_grad();
                let grads = op(x.clone(), weight.clone()).sum().backward();
                let grad = weight.grad(&grads).unwrap();
                assert_eq!(grad.dtype(), dtype);
                [x.grad(&grads).unwrap(), grad.cast(DType::F32)]
            };
            for (found, plain) in run(mixed_matmul).into_iter().zip(run(mixed_matmul_plain)) {
                assert_close(found, plain, 1e-6, "gradient");
            }
        }
    }
}

/// A small weight, and many rows of a large one.
#[test]
fn one_type_is_the_product_of_burn() {
    for device in devices().into_iter().map(Device::inner) {
        for [n, k, m] in [[33, 33, 33], [200, 1100, 1030]] {
            let x = tensor([n, k], 1, 1.0, &device);
            let weight = tensor([k, m], 2, 1.0, &device);
            let plain = x.clone().matmul(weight.clone());
            assert_same([mixed_matmul(x, weight)], [plain]);
        }
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_rows_of_another_length() {
    let device = &devices()[0];
    mixed_matmul(
        tensor([2, 3], 1, 1.0, device),
        tensor([4, 5], 1, 1.0, device),
    );
}
