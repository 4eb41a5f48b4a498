//! Causal attention against its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, assert_same, cases, devices, tensor, vec};
use bsbr_kernels::{causal_attention, causal_attention_plain};
use burn::tensor::{Device, Tensor};

type Attention = fn(Tensor<4>, Tensor<4>, Tensor<4>, f64) -> Tensor<4>;

/// Output and gradients of q, k, v.
fn run(op: Attention, [q, k, v]: [Tensor<4>; 3], scale: f64) -> [Tensor<4>; 4] {
    let [q, k, v] = [q, k, v].map(|x| x.detach().require_grad());
    let out = op(q.clone(), k.clone(), v.clone(), scale);
    let weight = tensor(out.dims(), 4, 1.0, &out.device());
    let grads = (out.clone() * weight).sum().backward();
    let [dq, dk, dv] = [q, k, v].map(|x| x.grad(&grads).unwrap());
    [out.inner(), dq, dk, dv]
}

/// q, k, v for the shape [B, H, Nq, Nk, D].
fn inputs([b, h, nq, nk, d]: [usize; 5], device: &Device) -> [Tensor<4>; 3] {
    [(1, nq), (2, nk), (3, nk)].map(|(seed, n)| tensor([b, h, n, d], seed, 1.0, device))
}

fn assert_close_all(fused: [Tensor<4>; 4], plain: [Tensor<4>; 4], tol: f32, what: &str) {
    let names = ["out", "dq", "dk", "dv"];
    for (name, (fused, plain)) in names.into_iter().zip(fused.into_iter().zip(plain)) {
        assert_close(fused, plain, tol, &format!("{name}: {what}"));
    }
}

fn check(shape: [usize; 5]) {
    for device in devices() {
        let inputs = inputs(shape, &device);
        let scale = 1.0 / (shape[4] as f64).sqrt();
        let fused = run(causal_attention, inputs.clone(), scale);
        let plain = run(causal_attention_plain, inputs, scale);
        assert_close_all(fused, plain, 2e-5, &format!("{shape:?} on {device:?}"));
    }
}

#[test]
fn equals_plain_at_awkward_lengths() {
    for n in cases(3, [1, 65, 257, 2, 63, 64, 127, 129, 255, 513]) {
        check([1, 2, n, n, 48]);
    }
}

#[test]
fn equals_plain_at_awkward_head_sizes() {
    for d in cases(2, [5, 80, 1, 48, 64]) {
        check([3, 2, 70, 70, d]);
    }
}

#[test]
fn equals_plain_when_the_queries_are_the_last_positions() {
    let lengths = [(1, 300), (65, 66), (1, 1), (64, 400), (129, 257), (3, 1030)];
    for (nq, nk) in cases(2, lengths) {
        check([2, 2, nq, nk, 16]);
    }
}

#[test]
fn equals_plain_with_many_heads() {
    check([3, 12, 129, 129, 8]);
}

#[test]
fn takes_views() {
    for device in devices() {
        // Heads of a projection [B, N, 3, H, D].
        let qkv = tensor([2, 130, 3, 4, 16], 5, 1.0, &device);
        let views = [0, 1, 2].map(|part| {
            qkv.clone()
                .narrow(2, part, 1)
                .squeeze_dim::<4>(2)
                .swap_dims(1, 2)
        });
        let fused = run(causal_attention, views.clone(), 0.25);
        let plain = run(causal_attention_plain, views, 0.25);
        assert_close_all(fused, plain, 2e-5, "permuted");
        // Transposed and flipped.
        let views = [1, 2, 3].map(|seed| {
            tensor([2, 3, 16, 70], seed, 1.0, &device)
                .swap_dims(2, 3)
                .flip([0, 2])
        });
        let fused = run(causal_attention, views.clone(), 0.25);
        let plain = run(causal_attention_plain, views, 0.25);
        assert_close_all(fused, plain, 2e-5, "transposed and flipped");
    }
}

#[test]
fn takes_no_tokens() {
    for device in devices() {
        let [q, k, v] = inputs([1, 2, 0, 5, 8], &device);
        assert_eq!(causal_attention(q, k, v, 1.0).dims(), [1, 2, 0, 8]);
    }
}

#[test]
fn no_output_depends_on_a_later_token() {
    for device in devices() {
        let [q, k, v] = inputs([1, 2, 200, 200, 16], &device);
        let out = |inputs: [Tensor<4>; 3]| {
            let [q, k, v] = inputs;
            causal_attention(q, k, v, 0.25)
        };
        let before = out([q.clone(), k.clone(), v.clone()]);
        for t in [0, 1, 63, 64, 100, 199] {
            let change = |x: &Tensor<4>, seed| {
                let row = tensor([1, 2, 1, 16], seed, 30.0, &device);
                x.clone().slice_assign([0..1, 0..2, t..t + 1, 0..16], row)
            };
            let after = out([change(&q, 7), change(&k, 8), change(&v, 9)]);
            if t > 0 {
                let head = |x: &Tensor<4>| [x.clone().narrow(2, 0, t)];
                assert_same(head(&before), head(&after));
            }
            let at = |x: &Tensor<4>| vec(x.clone().narrow(2, t, 1));
            assert_ne!(at(&before), at(&after));
        }
    }
}

#[test]
fn is_the_same_on_every_run() {
    for device in devices() {
        for shape in [[1, 3, 700, 700, 64], [3, 2, 129, 257, 48]] {
            let first = run(causal_attention, inputs(shape, &device), 0.125);
            for _ in 0..3 {
                let again = run(causal_attention, inputs(shape, &device), 0.125);
                assert_same(first.clone(), again);
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn is_the_same_on_any_number_of_threads() {
    crate::common::assert_same_on_threads(|| {
        let inputs = inputs([1, 3, 700, 700, 64], &Device::flex().autodiff());
        run(causal_attention, inputs, 0.125).to_vec()
    });
}

#[test]
fn large_scores_stay_finite() {
    for device in devices() {
        let [q, k, v] = inputs([1, 2, 130, 130, 16], &device);
        for factor in [1e2, 1e4] {
            let inputs = [q.clone() * factor, k.clone() * factor, v.clone()];
            for x in run(causal_attention, inputs, 1.0) {
                assert!(vec(x).iter().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn the_forward_pass_needs_no_autodiff() {
    for device in devices() {
        let [q, k, v] = inputs([2, 2, 65, 65, 16], &device);
        let tracked = causal_attention(q.clone(), k.clone(), v.clone(), 0.25).inner();
        let plain = causal_attention(q.inner(), k.inner(), v.inner(), 0.25);
        assert_same([tracked], [plain]);
    }
}

#[test]
fn half_of_the_inputs_may_be_constants() {
    for device in devices() {
        let [q, k, v] = inputs([1, 2, 65, 65, 16], &device);
        let k = k.require_grad();
        let out = causal_attention(q.clone(), k.clone(), v.clone(), 0.25);
        let dk = k.grad(&out.sum().backward()).unwrap();
        let k = k.detach().require_grad();
        let plain = causal_attention_plain(q, k.clone(), v, 0.25);
        assert_close(dk, k.grad(&plain.sum().backward()).unwrap(), 2e-5, "dk");
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_more_queries_than_keys() {
    let [q, k, v] = inputs([1, 1, 3, 2, 4], &devices()[0]);
    causal_attention(q, k, v, 1.0);
}
