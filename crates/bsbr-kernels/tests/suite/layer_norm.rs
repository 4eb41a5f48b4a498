//! Layer normalisation against its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, devices, is_gpu, tensor, values, vec};
use bsbr_kernels::{layer_norm, layer_norm_plain};
use burn::tensor::{Device, Tensor, TensorData};

type LayerNorm = fn(Tensor<3>, Tensor<1>, Tensor<1>, f64) -> Tensor<3>;

/// Output and gradients of x, gamma and beta, each as a row.
fn run(op: LayerNorm, x: Tensor<3>) -> [Tensor<2>; 4] {
    let (device, c) = (x.device(), x.dims()[2]);
    let x = x.detach().require_grad();
    let gamma = tensor([c], 2, 2.0, &device).require_grad();
    let beta = tensor([c], 3, 1.0, &device).require_grad();
    let out = op(x.clone(), gamma.clone(), beta.clone(), 1e-5);
    let weight = tensor(out.dims(), 4, 1.0, &device);
    let grads = (out.clone() * weight).sum().backward();
    let [dgamma, dbeta] = [gamma, beta].map(|x| x.grad(&grads).unwrap().unsqueeze());
    [
        out.inner().flatten(0, 1),
        x.grad(&grads).unwrap().flatten(0, 1),
        dgamma,
        dbeta,
    ]
}

fn check(x: Tensor<3>) {
    let names = ["out", "dx", "dgamma", "dbeta"];
    let pairs = run(layer_norm, x.clone())
        .into_iter()
        .zip(run(layer_norm_plain, x.clone()));
    for (name, (fused, plain)) in names.into_iter().zip(pairs) {
        assert_close(fused, plain, 5e-6, &format!("{name} at {:?}", x.dims()));
    }
}

fn input(shape: [usize; 3], device: &Device) -> Tensor<3> {
    tensor(shape, 1, 3.0, device) + 1.5
}

#[test]
fn equals_plain() {
    for device in devices() {
        for shape in [
            [1, 1, 5],
            [3, 65, 48],
            [1, 129, 64],
            [2, 63, 80],
            [3, 1, 193],
            [1, 257, 768],
        ] {
            check(input(shape, &device));
        }
    }
}

#[test]
fn takes_views() {
    for device in devices() {
        check(
            input([3, 48, 65], &device)
                .swap_dims(1, 2)
                .slice([0..3, 1..64, 2..48]),
        );
    }
}

#[test]
fn is_the_same_on_every_run() {
    for device in devices() {
        let x = input([3, 257, 80], &device);
        assert_same(run(layer_norm, x.clone()), run(layer_norm, x));
    }
}

#[test]
fn a_constant_row_stays_finite() {
    for device in devices() {
        for out in run(layer_norm, Tensor::full([2, 3, 16], 1e4, &device)) {
            assert!(vec(out).iter().all(|x| x.is_finite()));
        }
    }
}

/// Over an infinite deviation nothing but beta would be left of a row, which looks like any other.
#[test]
fn a_row_whose_variance_is_beyond_single_precision_is_no_number() {
    if is_gpu() {
        return; // their kernel does not look
    }
    for device in devices() {
        for columns in [5, 16, 193] {
            for large in [1e30, -3e38, f32::INFINITY, f32::NAN] {
                let mut rows = values(3 * columns, 1, 3.0);
                rows[columns + 4] = large;
                let x = Tensor::from_data(TensorData::new(rows, [1, 3, columns]), &device);
                for (op, name) in [
                    (layer_norm as LayerNorm, "fused"),
                    (layer_norm_plain, "plain"),
                ] {
                    let [out, ..] = run(op, x.clone());
                    for (i, number) in vec(out).into_iter().enumerate() {
                        let (row, case) = (i / columns, format!("{name}: {large}, {columns}"));
                        assert_eq!(number.is_finite(), row != 1, "{case}: {i} is {number}");
                    }
                }
            }
            // The largest that there is room for.
            let mut row = vec![0.0; columns];
            (row[0], row[1]) = (1.2e19, -1.2e19);
            let x = Tensor::from_data(TensorData::new(row, [1, 1, columns]), &device);
            let [out, ..] = run(layer_norm, x);
            assert!(vec(out).iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_parameters_of_another_length() {
    let device = &devices()[0];
    let (gamma, beta) = (tensor([3], 1, 1.0, device), tensor([3], 1, 1.0, device));
    layer_norm(input([1, 2, 4], device), gamma, beta, 1e-5);
}
