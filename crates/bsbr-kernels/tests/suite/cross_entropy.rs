//! Cross entropy, of logits and of a linear head, against the plain forms.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, cases, devices, tensor, values, vec};
use bsbr_kernels::{
    Bf16Weight, cross_entropy, cross_entropy_plain, linear_cross_entropy,
    linear_cross_entropy_bf16, linear_cross_entropy_plain,
};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

type CrossEntropy = fn(Tensor<2>, Tensor<1, Int>, Tensor<1>) -> Tensor<1>;
type LinearCrossEntropy = fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, Tensor<1>) -> Tensor<1>;

fn targets(rows: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let targets: Vec<i64> = (0..rows)
        .map(|i| ((i * 7919 + 13) % classes) as i64)
        .collect();
    Tensor::from_data(TensorData::new(targets, [rows]), device)
}

/// Some zeros among them.
fn weights(rows: usize, device: &Device) -> Tensor<1> {
    let weights: Vec<f32> = (0..rows).map(|i| [1.0, 0.5, 0.0, 2.0][i % 4]).collect();
    Tensor::from_data(TensorData::new(weights, [rows]), device)
}

/// Loss and gradient.
fn run(op: CrossEntropy, logits: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
    let ([rows, classes], device) = (logits.dims(), logits.device());
    let logits = logits.detach().require_grad();
    let loss = op(
        logits.clone(),
        targets(rows, classes, &device),
        weights(rows, &device),
    );
    let grads = (loss.clone() * 0.3).backward();
    (loss.inner(), logits.grad(&grads).unwrap())
}

/// Loss and gradients of hidden and head.
fn run_linear(op: LinearCrossEntropy, inputs: [Tensor<2>; 2]) -> (Tensor<1>, [Tensor<2>; 2]) {
    let [hidden, head] = inputs.map(|x| x.detach().require_grad());
    let (rows, classes, device) = (hidden.dims()[0], head.dims()[0], hidden.device());
    let (targets, weights) = (targets(rows, classes, &device), weights(rows, &device));
    let loss = op(hidden.clone(), head.clone(), targets, weights);
    let grads = (loss.clone() * 0.3).backward();
    (
        loss.inner(),
        [hidden, head].map(|x| x.grad(&grads).unwrap()),
    )
}

#[test]
fn equals_plain() {
    for device in devices() {
        for shape in [[1, 1], [1, 5], [3, 63], [65, 129], [127, 1000]] {
            let logits = tensor(shape, 1, 8.0, &device);
            let (loss, grad) = run(cross_entropy, logits.clone());
            let (plain_loss, plain_grad) = run(cross_entropy_plain, logits);
            assert_close(loss, plain_loss, 2e-6, &format!("loss at {shape:?}"));
            assert_close(grad, plain_grad, 1e-6, &format!("gradient at {shape:?}"));
        }
    }
}

#[test]
fn takes_views() {
    for device in devices() {
        let logits = tensor([40, 30], 1, 4.0, &device)
            .transpose()
            .slice([3..20, 1..40]);
        let (loss, grad) = run(cross_entropy, logits.clone());
        let (plain_loss, plain_grad) = run(cross_entropy_plain, logits);
        assert_close(loss, plain_loss, 2e-6, "loss");
        assert_close(grad, plain_grad, 1e-6, "gradient");
    }
}

#[test]
fn linear_equals_plain() {
    for device in devices() {
        let shapes = [
            [3, 5, 63],
            [65, 48, 513],
            [1, 1, 1],
            [257, 64, 1025],
            [700, 80, 300],
        ];
        for [rows, features, classes] in cases(2, shapes) {
            let hidden = tensor([rows, features], 1, 1.0, &device);
            let head = tensor([classes, features], 2, 1.0, &device);
            let inputs = [hidden, head];
            let (loss, [dh, dw]) = run_linear(linear_cross_entropy, inputs.clone());
            let (plain_loss, [plain_dh, plain_dw]) = run_linear(linear_cross_entropy_plain, inputs);
            let at = format!("at {rows} x {features} x {classes}");
            assert_close(loss, plain_loss, 2e-6, &format!("loss {at}"));
            assert_close(dh, plain_dh, 5e-6, &format!("dhidden {at}"));
            assert_close(dw, plain_dw, 5e-6, &format!("dhead {at}"));
        }
    }
}

fn in_bf16(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Tensor<1>,
) -> Tensor<1> {
    let packed = Bf16Weight::of_table(&head);
    linear_cross_entropy_bf16(hidden, head, targets, weights, &packed)
}

/// The plain form has rounded inputs. Rounding the gradients of logits moves each by up to 2^-9 of
/// itself.
#[test]
fn a_linear_head_in_bf16_equals_plain_with_rounded_inputs() {
    let has = |device: &Device| device.supports_dtype(DType::BF16);
    for device in devices().into_iter().filter(has) {
        for [rows, features, classes] in [[1, 1, 1], [3, 5, 63], [17, 24, 130], [300, 64, 1501]] {
            let inputs = [
                tensor([rows, features], 1, 2.0, &device),
                tensor([classes, features], 2, 1.0, &device),
            ];
            let rounded = inputs.clone().map(|x| x.cast(DType::BF16).cast(DType::F32));
            let (loss, [dh, dw]) = run_linear(in_bf16, inputs);
            let (plain_loss, [plain_dh, plain_dw]) =
                run_linear(linear_cross_entropy_plain, rounded);
            let at = format!("at {rows} x {features} x {classes}");
            assert_close(loss, plain_loss, 5e-6, &format!("loss {at}"));
            assert_close(dh, plain_dh, 4e-3, &format!("dhidden {at}"));
            assert_close(dw, plain_dw, 4e-3, &format!("dhead {at}"));
        }
    }
}

#[test]
fn the_linear_head_may_be_constant_or_alone() {
    for device in devices() {
        let hidden = tensor([300, 16], 1, 1.0, &device);
        let head = tensor([70, 16], 2, 1.0, &device);
        let rows = || (targets(300, 70, &device), weights(300, &device));
        let (_, [dh, dw]) = run_linear(linear_cross_entropy_plain, [hidden.clone(), head.clone()]);

        let tracked = hidden.clone().require_grad();
        let (t, w) = rows();
        let loss = linear_cross_entropy(tracked.clone(), head.clone(), t, w) * 0.3;
        assert_close(tracked.grad(&loss.backward()).unwrap(), dh, 5e-6, "dhidden");

        let tracked = head.clone().require_grad();
        let (t, w) = rows();
        let loss = linear_cross_entropy(hidden.clone(), tracked.clone(), t, w) * 0.3;
        assert_close(tracked.grad(&loss.backward()).unwrap(), dw, 5e-6, "dhead");

        let (t, w) = rows();
        let with_grads = linear_cross_entropy(hidden.clone().require_grad(), head.clone(), t, w);
        let (t, w) = rows();
        let alone = linear_cross_entropy(hidden.inner(), head.inner(), t.inner(), w.inner());
        assert_close(alone, with_grads.inner(), 1e-6, "loss");
    }
}

#[test]
fn are_the_same_on_every_run() {
    for device in devices() {
        let logits = tensor([65, 1000], 1, 4.0, &device);
        assert_same(
            [run(cross_entropy, logits.clone()).1],
            [run(cross_entropy, logits).1],
        );
        let inputs = [
            tensor([300, 64], 1, 1.0, &device),
            tensor([1500, 64], 2, 1.0, &device),
        ];
        let (loss, grads) = run_linear(linear_cross_entropy, inputs.clone());
        let (again, grads_again) = run_linear(linear_cross_entropy, inputs);
        assert_same([loss], [again]);
        assert_same(grads, grads_again);
    }
}

#[test]
fn a_linear_head_in_bf16_is_the_same_on_any_number_of_threads() {
    let device = Device::flex().autodiff();
    let inputs = [
        tensor([300, 33], 1, 1.0, &device),
        tensor([1501, 33], 2, 1.0, &device),
    ];
    let (loss, grads) = run_linear(in_bf16, inputs.clone());
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let (again, grads_again) = pool
            .unwrap()
            .install(|| run_linear(in_bf16, inputs.clone()));
        assert_same([loss.clone()], [again]);
        assert_same(grads.clone(), grads_again);
    }
}

#[test]
fn large_logits_stay_finite() {
    for device in devices() {
        let (loss, grad) = run(cross_entropy, tensor([9, 600], 1, 1e5, &device));
        assert!(vec(loss)[0].is_finite());
        assert!(vec(grad).iter().all(|x| x.is_finite()));
    }
}

/// Four rows, the third of which, whose weight is zero, is `filler`.
fn with_third_row(filler: f32, columns: usize, device: &Device) -> Tensor<2> {
    let mut numbers = values(4 * columns, 1, 1.0);
    numbers[2 * columns..3 * columns].fill(filler);
    Tensor::from_data(TensorData::new(numbers, [4, columns]), device)
}

#[test]
fn a_row_without_weight_does_not_count() {
    for device in devices() {
        for filler in [f32::NAN, f32::INFINITY, 1e30] {
            let logits = |filler| with_third_row(filler, 5, &device);
            for op in [cross_entropy as CrossEntropy, cross_entropy_plain] {
                let (loss, grad) = run(op, logits(filler));
                let (expected, expected_grad) = run(op, logits(0.5));
                assert_close(loss, expected, 1e-6, &format!("loss, {filler}"));
                assert_close(grad, expected_grad, 1e-6, &format!("gradient, {filler}"));
            }
            let inputs = |filler| {
                let hidden = with_third_row(filler, 3, &device);
                [hidden, tensor([5, 3], 2, 1.0, &device)]
            };
            for op in [
                linear_cross_entropy as LinearCrossEntropy,
                linear_cross_entropy_plain,
            ] {
                let (loss, grads) = run_linear(op, inputs(filler));
                let (expected, expected_grads) = run_linear(op, inputs(0.5));
                assert_close(loss, expected, 1e-6, &format!("linear loss, {filler}"));
                for (grad, expected) in grads.into_iter().zip(expected_grads) {
                    assert_close(grad, expected, 1e-6, &format!("linear gradient, {filler}"));
                }
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
#[should_panic(expected = "a target is not below 4")]
fn rejects_a_target_out_of_range() {
    let device = Device::flex();
    let targets = Tensor::<1, Int>::from_data([4], &device);
    cross_entropy(
        tensor([1, 4], 1, 1.0, &device),
        targets,
        Tensor::ones([1], &device),
    );
}
