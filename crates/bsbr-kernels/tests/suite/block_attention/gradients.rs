//! Gradients of block attention against those of its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::{flipped, heads, inputs, large, with};
use crate::common::{assert_close, assert_fused, cases, devices, tensor, values, vec};
use bsbr_kernels::{
    BlockAttention, BlockStates, Grid, HeadLevel, HeadLevels, KvBits, Spans, block_attention,
    block_attention_plain,
};
use burn::tensor::{DType, Tensor};

type Op = fn(Tensor<4>, Tensor<4>, Tensor<4>, BlockStates, BlockAttention, f64) -> Tensor<4>;

/// Chunks of 8 in 4 clusters, one near chunk, 4 sinks.
const SETTINGS: BlockAttention = BlockAttention {
    grid: Grid {
        sinks: 4,
        ..super::SETTINGS.grid
    },
    ..super::SETTINGS
};

/// [`SETTINGS`] with lookups.
fn looking_up(exact_clusters: usize) -> BlockAttention {
    with(SETTINGS, |s| s.exact_clusters = exact_clusters)
}

/// How states are kept.
#[derive(Debug, Clone, Copy)]
enum States {
    Off,
    Whole,
    /// In bases of that rank, which want gradients.
    Rank(usize),
}

/// The output, and the gradients of q, k, v and of bases, if any, of its sum with factors.
fn run(
    op: Op,
    [q, k, v]: [Tensor<4>; 3],
    states: States,
    settings: BlockAttention,
    factors: Tensor<4>,
) -> Vec<Tensor<4>> {
    let [_, h, _, d] = q.dims();
    let device = q.device();
    let leaves = [q, k, v].map(|x| x.detach().require_grad());
    let basis = |seed, rank| tensor([h, d, rank], seed, 0.5, &device).require_grad();
    let states = match states {
        States::Off => BlockStates::Off,
        States::Whole => BlockStates::Whole,
        States::Rank(rank) => BlockStates::Compressed {
            key: basis(8, rank),
            value: basis(9, rank),
        },
    };
    let [q, k, v] = leaves.clone();
    let scale = 1.0 / (d as f64).sqrt();
    let out = op(q, k, v, states.clone(), settings, scale);
    let grads = (out.clone() * factors).sum().backward();
    let mut all = vec![out.inner()];
    all.extend(leaves.iter().map(|x| x.grad(&grads).unwrap()));
    if let BlockStates::Compressed { key, value } = states {
        // Where nothing is far, the plain form does not touch them.
        all.extend([key, value].map(|x| match x.grad(&grads) {
            Some(grad) => grad.unsqueeze(),
            None => x.inner().zeros_like().unsqueeze(),
        }));
    }
    all
}

fn assert_close_all(fused: Vec<Tensor<4>>, plain: Vec<Tensor<4>>, what: &str) {
    let names = ["out", "dq", "dk", "dv", "dU_k", "dU_v"];
    assert_eq!(fused.len(), plain.len());
    for (name, (fused, plain)) in names.into_iter().zip(fused.into_iter().zip(plain)) {
        // Sums of some hundred products of f32.
        assert_close(fused, plain, 3e-5, &format!("{name}: {what}"));
    }
}

/// Compares outputs and gradients of both forms.
fn check_inputs(
    inputs: &[Tensor<4>; 3],
    factors: &Tensor<4>,
    states: States,
    settings: BlockAttention,
) {
    let [fused, plain] = [block_attention as Op, block_attention_plain]
        .map(|op| run(op, inputs.clone(), states, settings, factors.clone()));
    let (shape, device) = (factors.dims(), factors.device());
    let what = format!("{shape:?}, {states:?}, {settings:?} on {device:?}");
    assert_close_all(fused, plain, &what);
}

fn check(shape: [usize; 4], states: States, settings: BlockAttention) {
    for device in devices() {
        let factors = tensor(shape, 5, 1.0, &device);
        assert_fused(&factors, &settings);
        check_inputs(&inputs(shape, &device), &factors, states, settings);
    }
}

fn check_all_states(shape: [usize; 4], settings: BlockAttention) {
    for states in [States::Off, States::Whole, States::Rank(2)] {
        check(shape, states, settings);
    }
}

#[test]
fn equal_plain_at_awkward_lengths() {
    // One more or less than the sinks, a chunk, and several.
    for n in cases(2, [1, 45, 4, 5, 11, 12, 13, 19, 20, 21, 28, 43, 44]) {
        check_all_states([3, 2, n, 5], SETTINGS);
        check_all_states([1, 1, n, 12], with(SETTINGS, |s| s.grid.sinks = 0));
    }
}

#[test]
fn equal_plain_with_awkward_settings() {
    for near_chunks in cases(1, [2, 0, 1]) {
        for clusters in cases(2, [0, 8, 1, 2]) {
            for sinks in [0, 4] {
                let settings = with(SETTINGS, |s| {
                    (s.grid.sinks, s.grid.near_chunks) = (sinks, near_chunks);
                    s.clusters = clusters;
                });
                check_all_states([1, 2, 45, 5], settings);
            }
        }
    }
    for (chunk_size, clusters) in cases(1, [(3, 4), (1, 1), (100, 16)]) {
        let settings = with(SETTINGS, |s| {
            (s.grid.chunk_size, s.clusters) = (chunk_size, clusters);
        });
        check_all_states([1, 2, 30, 5], settings);
    }
}

#[test]
fn equal_plain_at_awkward_head_sizes() {
    for d in cases(1, [12usize, 1, 48, 80]) {
        for states in [States::Whole, States::Rank(d.div_ceil(3)), States::Rank(d)] {
            check([2, 2, 53, d], states, SETTINGS);
        }
    }
}

#[test]
fn equal_plain_where_a_chunk_takes_several_blocks_and_steps() {
    let [settings, best, many] = large();
    let two_blocks = with(many, |s| s.grid.chunk_size = 70);
    let long = [
        ([1, 1, 250, 8], States::Rank(2), two_blocks),
        ([1, 1, 530, 8], States::Rank(2), many),
        ([1, 1, 530, 8], States::Whole, many),
        ([1, 1, 530, 8], States::Off, many),
        ([1, 1, 1003, 16], States::Whole, settings),
        ([1, 1, 1003, 16], States::Rank(4), best),
    ];
    for (shape, states, settings) in cases(1, long) {
        check(shape, states, settings);
    }
}

#[test]
fn equal_plain_where_many_queries_see_a_cluster() {
    let settings = with(SETTINGS, |s| {
        (s.grid.chunk_size, s.clusters) = (64, 2);
    });
    check([1, 1, 1030, 4], States::Off, settings);
}

#[test]
fn equal_plain_with_exact_clusters() {
    // 100 are more than there are.
    for exact_clusters in cases(1, [3, 1, 100]) {
        for sinks in [0, 3] {
            let settings = with(looking_up(exact_clusters), |s| s.grid.sinks = sinks);
            for n in cases(1, [28, 1, 19, 61]) {
                check_all_states([2, 2, n, 6], settings);
            }
        }
    }
}

#[test]
fn equal_plain_with_spans() {
    for (chunks, opened) in cases(1, [(2, 3), (3, 1), (1, 2), (2, 0), (4, 100)]) {
        for exact_clusters in cases(2, [2, 0, 100]) {
            let spans = Spans { chunks, opened };
            let settings = with(looking_up(exact_clusters), |s| s.spans = spans);
            for n in cases(1, [95, 61, 1, 27]) {
                check_all_states([2, 2, n, 6], settings);
            }
        }
    }
    let levels = with(looking_up(3), |s| {
        s.kv_bits = KvBits::Eight;
        (s.spans.chunks, s.spans.opened) = (2, 3);
        s.levels = HeadLevels::new(&[HeadLevel::Near, HeadLevel::Lookups, HeadLevel::Clusters]);
    });
    for d in cases(1, [16, 5, 48, 1]) {
        check([3, 3, 118, d], States::Whole, levels);
    }
    // Several blocks of queries in a chunk, and several ranges of chunks.
    let long = with(levels, |s| {
        (s.grid.sinks, s.grid.chunk_size) = (5, 70);
    });
    check([1, 1, 1307, 8], States::Off, long);
}

/// What is rounded passes its gradient on as if it were not.
#[test]
fn equal_plain_in_few_bits() {
    for kv_bits in cases(2, [KvBits::Eight, KvBits::Four, KvBits::Sixteen]) {
        let settings = with(looking_up(2), |s| s.kv_bits = kv_bits);
        for n in cases(1, [53, 21]) {
            check_all_states([2, 2, n, 6], settings);
        }
    }
}

#[test]
fn are_close_in_half_precision_where_a_device_computes_in_it() {
    for device in devices() {
        if !device.clone().inner().supports_dtype(DType::F16) {
            continue;
        }
        let shape = [2, 2, 45, 16];
        let settings = with(looking_up(2), |s| s.kv_bits = KvBits::Eight);
        let factors: Tensor<4> = tensor(shape, 5, 1.0, &device);
        let half = inputs(shape, &device).map(|x| x.cast(DType::F16));
        // The same numbers in single precision.
        let single = half.clone().map(|x| x.cast(DType::F32));
        let [half, single] = [(half, factors.clone().cast(DType::F16)), (single, factors)]
            .map(|(x, factors)| run(block_attention, x, States::Whole, settings, factors));
        for (half, single) in half.into_iter().zip(single) {
            assert_close(half.cast(DType::F32), single, 1e-2, "half precision");
        }
    }
}

#[test]
fn equal_plain_with_a_level_for_each_head() {
    use HeadLevel::{Clusters, Lookups, Near};
    for kv_bits in [KvBits::Eight, KvBits::ThirtyTwo] {
        let settings = with(looking_up(2), |s| {
            s.kv_bits = kv_bits;
            s.levels = HeadLevels::new(&[Near, Lookups, Lookups, Clusters]);
        });
        check_all_states([2, 4, 53, 6], settings);
    }
}

#[test]
fn equal_plain_where_many_queries_look_into_a_cluster() {
    // More clusters, tokens of a chunk, and queries that look into some of them than a block has.
    let settings = with(looking_up(9), |s| {
        (s.grid.chunk_size, s.clusters) = (70, 16);
    });
    for states in [States::Off, States::Whole] {
        check([1, 1, 7 * 70 + 5, 4], states, settings);
    }
}

#[test]
fn equal_plain_where_keys_are_alike() {
    // One cluster of each chunk has all tokens, the others none.
    for device in devices() {
        for exact_clusters in [0, 2] {
            let [q, k, v] = inputs([1, 2, 50, 4], &device);
            let inputs = [q, k.zeros_like() + 0.5, v];
            let factors = tensor([1, 2, 50, 4], 5, 1.0, &device);
            check_inputs(&inputs, &factors, States::Whole, looking_up(exact_clusters));
        }
    }
}

#[test]
fn go_through_views() {
    for device in devices() {
        // Heads of a projection [B, N, 3, H, D], and an output whose heads are merged.
        let grads = [block_attention as Op, block_attention_plain].map(|op| {
            let qkv = tensor([2, 61, 3, 4, 16], 5, 1.0, &device).require_grad();
            let [q, k, v] = heads(&qkv);
            let out = op(q, k, v, BlockStates::Whole, SETTINGS, 0.25);
            let merged = out.swap_dims(1, 2).reshape([2, 61, 64]);
            let factors = tensor([2, 61, 64], 6, 1.0, &device);
            qkv.grad(&(merged * factors).sum().backward()).unwrap()
        });
        let [fused, plain] = grads;
        assert_close(fused, plain, 3e-5, "merged heads");
        let factors: Tensor<4> = tensor([2, 3, 16, 61], 4, 1.0, &device);
        let factors = factors.swap_dims(2, 3).flip([1, 3]);
        check_inputs(&flipped(&device), &factors, States::Rank(3), SETTINGS);
    }
}

/// Whether any number is not zero.
fn any(x: Tensor<4>) -> bool {
    vec(x).iter().any(|x| *x != 0.0)
}

#[test]
fn of_an_output_by_later_tokens_are_zero() {
    let (n, d) = (45, 5);
    for device in devices() {
        for exact_clusters in [0, 2] {
            let settings = looking_up(exact_clusters);
            // The last one first, and then here and there.
            for i in cases(5, (0..n).map(|i| n - 1 - i * 17 % n)) {
                let mut factors = vec![0.0; 2 * n * d];
                for (head, from) in [(0, values(d, 6, 1.0)), (1, values(d, 7, 1.0))] {
                    factors[(head * n + i) * d..][..d].copy_from_slice(&from);
                }
                let factors = Tensor::<1>::from_floats(factors.as_slice(), &device);
                let factors = factors.reshape([1, 2, n, d]);
                let inputs = inputs([1, 2, n, d], &device);
                let all = run(block_attention, inputs, States::Whole, settings, factors);
                for (name, gradient) in ["dq", "dk", "dv"].into_iter().zip(&all[1..]) {
                    let what = format!("{name} of output {i}, {settings:?}");
                    if i + 1 < n {
                        let later = gradient.clone().narrow(2, i + 1, n - i - 1);
                        assert!(!any(later), "{what}: later tokens have one");
                    }
                    // A query alone has a weight of one, whatever its score.
                    if i > 0 || name == "dv" {
                        let own = gradient.clone().narrow(2, i, 1);
                        assert!(any(own), "{what}: its own token has none");
                        assert!(any(gradient.clone().narrow(2, 0, i + 1)), "{what}");
                    }
                }
                // Sinks, a far chunk, and the receiver before the own one.
                if i >= 28 {
                    assert!(any(all[2].clone().narrow(2, 0, 4)), "sinks of {i}");
                    assert!(any(all[3].clone().narrow(2, 4, 8)), "far chunk of {i}");
                    let receiver = 4 + (i - 4) / 8 * 8 - 1;
                    let of_receiver = all[1].clone().narrow(2, receiver, 1);
                    assert!(any(of_receiver), "receiver {receiver} of {i}");
                }
            }
        }
    }
}

#[test]
fn are_those_of_the_output() {
    for device in devices() {
        for exact_clusters in [0, 1] {
            let settings = looking_up(exact_clusters);
            let inputs = inputs([1, 2, 45, 4], &device);
            let direction: Tensor<4> = tensor([1, 2, 45, 4], 12, 1.0, &device).inner();
            let factors: Tensor<4> = tensor([1, 2, 45, 4], 13, 1.0, &device);
            let all = run(
                block_attention,
                inputs.clone(),
                States::Whole,
                settings,
                factors.clone(),
            );
            let along = |x: &Tensor<4>| (x.clone() * direction.clone()).sum();
            let analytic: f32 = all[1..].iter().map(|x| along(x).into_scalar::<f32>()).sum();
            let at = |step: f32| -> f32 {
                let moved = |x: &Tensor<4>| x.clone().inner() + direction.clone() * step;
                let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]].map(moved);
                let out = block_attention(q, k, v, BlockStates::Whole, settings, 0.5);
                (out * factors.clone().inner()).sum().into_scalar()
            };
            let numeric = (at(2e-3) - at(-2e-3)) / 4e-3;
            // Differences of f32 sums are good to about one in a hundred.
            assert!(
                (analytic - numeric).abs() < 2e-2 * numeric.abs(),
                "{analytic} for {numeric}, {settings:?}"
            );
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn are_the_same_on_any_number_of_threads() {
    for (states, exact_clusters) in [(States::Whole, 0), (States::Rank(16), 0), (States::Off, 4)] {
        let settings = with(looking_up(exact_clusters), |s| {
            (s.grid.chunk_size, s.clusters) = (32, 8);
        });
        crate::common::assert_same_on_threads(|| {
            let device = burn::tensor::Device::flex().autodiff();
            let shape = [1, 3, 700, 64];
            let factors = tensor(shape, 5, 1.0, &device);
            run(
                block_attention,
                inputs(shape, &device),
                states,
                settings,
                factors,
            )
        });
    }
}

#[test]
fn stay_finite_where_scores_are_large() {
    for device in devices() {
        let [q, k, v] = inputs([1, 2, 60, 16], &device);
        let factors: Tensor<4> = tensor([1, 2, 60, 16], 5, 1.0, &device);
        for factor in [1e2, 1e4] {
            for exact_clusters in [0, 2] {
                let inputs = [q.clone() * factor, k.clone() * factor, v.clone()];
                let (settings, factors) = (looking_up(exact_clusters), factors.clone());
                for x in run(block_attention, inputs, States::Off, settings, factors) {
                    assert!(vec(x).iter().all(|x| x.is_finite()));
                }
            }
        }
    }
}

#[test]
fn go_to_those_who_want_them() {
    for device in devices() {
        let [q, k, v] = inputs([1, 2, 45, 5], &device);
        let bases = [8, 9].map(|seed| tensor([2, 5, 2], seed, 0.5, &device));
        let grads = [block_attention as Op, block_attention_plain].map(|op| {
            let (k, value) = (k.clone().require_grad(), bases[1].clone().require_grad());
            let states = BlockStates::Compressed {
                key: bases[0].clone(),
                value: value.clone(),
            };
            let out = op(q.clone(), k.clone(), v.clone(), states, SETTINGS, 0.5);
            let grads = out.powf_scalar(2.0).sum().backward();
            (k.grad(&grads).unwrap(), value.grad(&grads).unwrap())
        });
        let [(dk, dvalue), (plain_dk, plain_dvalue)] = grads;
        assert_close(dk, plain_dk, 3e-5, "dk");
        assert_close(dvalue, plain_dvalue, 3e-5, "dU_v");
    }
}

#[test]
fn of_no_tokens_are_empty() {
    for device in devices() {
        let shape = [1, 2, 0, 8];
        let [q, k, v] = inputs(shape, &device).map(|x| x.require_grad());
        let out = block_attention(q, k.clone(), v, BlockStates::Whole, SETTINGS, 1.0);
        let grads = out.sum().backward();
        assert_eq!(k.grad(&grads).unwrap().dims(), shape);
    }
}
