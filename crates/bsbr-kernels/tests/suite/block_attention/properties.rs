//! Properties of every output of block attention.

use super::{SETTINGS, inputs, looking_up, plain_devices, with};
use crate::common::{assert_close, assert_fused, assert_same, cases, devices, is_gpu, tensor, vec};
use bsbr_kernels::{
    BlockStates, HeadLevel, HeadLevels, KvBits, block_attention, causal_attention,
    fuses_block_attention,
};
use burn::tensor::{DType, Device, Tensor};

/// A query that opens every merged cluster sees what it sees without spans.
#[test]
fn spans_whose_clusters_are_all_opened_change_nothing() {
    for device in plain_devices() {
        for exact_clusters in [0, 3] {
            for chunks in [1, 2, 5] {
                let flat = with(looking_up(exact_clusters), |s| s.kv_bits = KvBits::Eight);
                let spans = with(flat, |s| (s.spans.chunks, s.spans.opened) = (chunks, 1000));
                let [one, other] = [flat, spans].map(|settings| {
                    let [q, k, v] = inputs([2, 2, 120, 6], &device);
                    block_attention(q, k, v, BlockStates::Whole, settings, 0.4)
                });
                assert_close(other, one, 2e-5, &format!("{spans:?}"));
            }
        }
    }
}

/// Whatever two queries of a block choose, the score of one does not depend on the other.
#[test]
fn all_clusters_looked_up_are_dense_at_any_size_of_scores() {
    for device in plain_devices() {
        let [q, _, v] = inputs([1, 2, 70, 16], &device);
        let same = q.ones_like() * 1e4;
        let dense = causal_attention(same.clone(), same.clone(), v.clone(), 0.25);
        let states = BlockStates::Off;
        let out = block_attention(same.clone(), same, v, states, looking_up(1000), 0.25);
        assert_close(out, dense, 2e-5, "scores of 4e8");
    }
}

#[test]
fn what_is_near_or_looked_up_is_attended_to_as_densely() {
    for device in plain_devices() {
        let [q, k, v] = inputs([2, 2, 70, 12], &device);
        let dense = causal_attention(q.clone(), k.clone(), v.clone(), 0.3);
        for settings in [
            with(SETTINGS, |s| s.grid.near_chunks = 20),
            looking_up(1000),
            with(SETTINGS, |s| (s.grid.chunk_size, s.clusters) = (1, 1)),
        ] {
            let states = BlockStates::Whole;
            let out = block_attention(q.clone(), k.clone(), v.clone(), states, settings, 0.3);
            assert_close(out, dense.clone(), 2e-5, &format!("{settings:?}"));
        }
    }
}

#[test]
fn takes_no_tokens() {
    for device in plain_devices() {
        let [q, k, v] = inputs([1, 2, 0, 8], &device);
        let out = block_attention(q, k, v, BlockStates::Whole, SETTINGS, 1.0);
        assert_eq!(out.dims(), [1, 2, 0, 8]);
    }
}

#[test]
fn no_output_depends_on_a_later_token() {
    for device in plain_devices() {
        let shape = [1, 2, 60, 8];
        for exact_clusters in [0, 2] {
            let out = |inputs: &[Tensor<4>; 3]| {
                let ([q, k, v], settings) = (inputs.clone(), looking_up(exact_clusters));
                assert_fused(&q, &settings);
                block_attention(q, k, v, BlockStates::Whole, settings, 0.3)
            };
            let original = inputs(shape, &device);
            let before = out(&original);
            // The last one first, and then here and there.
            let n = shape[2];
            for t in cases(5, (0..n).map(|i| n - 1 - i * 17 % n)) {
                let mut seed = 6;
                let after = out(&original.clone().map(|x| {
                    seed += 1;
                    let row = tensor([1, 2, 1, 8], seed, 30.0, &device);
                    x.slice_assign([0..1, 0..2, t..t + 1, 0..8], row)
                }));
                if t > 0 {
                    let head = |x: &Tensor<4>| [x.clone().narrow(2, 0, t)];
                    assert_same(head(&before), head(&after));
                }
                let at = |x: &Tensor<4>| vec(x.clone().narrow(2, t, 1));
                assert_ne!(at(&before), at(&after));
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn is_the_same_on_any_number_of_threads() {
    for exact_clusters in [0, 4] {
        let settings = with(looking_up(exact_clusters), |s| {
            (s.grid.chunk_size, s.clusters) = (64, 8);
        });
        crate::common::assert_same_on_threads(|| {
            let [q, k, v] = inputs([1, 3, 700, 64], &Device::flex());
            let states = BlockStates::Whole;
            vec![block_attention(q, k, v, states, settings, 0.125)]
        });
    }
}

#[test]
fn large_scores_stay_finite() {
    for device in plain_devices() {
        let [q, k, v] = inputs([1, 2, 60, 16], &device);
        for factor in [1e2, 1e4] {
            for exact_clusters in [0, 2] {
                let (q, k, v) = (q.clone() * factor, k.clone() * factor, v.clone());
                let settings = looking_up(exact_clusters);
                let out = block_attention(q, k, v, BlockStates::Off, settings, 1.0);
                assert!(vec(out).iter().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn half_precision_is_close_where_a_device_computes_in_it() {
    for device in plain_devices() {
        if !device.supports_dtype(DType::F16) {
            continue;
        }
        let inputs = inputs([2, 2, 45, 16], &device).map(|x| x.cast(DType::F16));
        let few_bits = with(looking_up(2), |s| s.kv_bits = KvBits::Eight);
        for settings in [SETTINGS, few_bits] {
            let out = |[q, k, v]: [Tensor<4>; 3]| {
                block_attention(q, k, v, BlockStates::Whole, settings, 0.25).cast(DType::F32)
            };
            // Of the same numbers in single precision.
            let single = inputs.clone().map(|x| x.cast(DType::F32));
            assert_close(out(inputs.clone()), out(single), 5e-3, "half precision");
        }
    }
}

#[test]
fn the_forward_pass_needs_no_autodiff() {
    for device in devices() {
        let out =
            |[q, k, v]: [Tensor<4>; 3]| block_attention(q, k, v, BlockStates::Whole, SETTINGS, 0.4);
        let inputs = inputs([2, 2, 45, 16], &device);
        let tracked = out(inputs.clone().map(|x| x.require_grad())).inner();
        assert_same([tracked], [out(inputs.map(Tensor::inner))]);
    }
}

#[test]
fn knows_where_it_is_fused() {
    for device in devices() {
        let x: Tensor<4> = tensor([1, 1, 2, 2], 1, 1.0, &device);
        let tracked = fuses_block_attention(&x, &SETTINGS);
        let forward = fuses_block_attention(&x.clone().inner(), &SETTINGS);
        assert_eq!(forward, tracked);
        #[cfg(feature = "flex")]
        if device.clone().inner() == Device::flex() {
            assert!(tracked && forward);
            let double = x.clone().cast(DType::F64);
            assert!(!fuses_block_attention(&double, &SETTINGS));
        }
        // There it is, but for more lookups than a kernel keeps.
        if is_gpu() {
            let long: Tensor<4> = tensor([1, 1, 99, 2], 1, 1.0, &device);
            let looks_up_in = |kv_bits, levels, exact_clusters| {
                let settings = with(looking_up(exact_clusters), |s| {
                    (s.kv_bits, s.levels) = (kv_bits, levels);
                });
                fuses_block_attention(&long, &settings)
            };
            let looks_up = |best| looks_up_in(KvBits::ThirtyTwo, HeadLevels::LOOKUPS, best);
            // Nothing is summarised, so that no chunk is too long.
            let exact = with(SETTINGS, |s| {
                (s.grid.chunk_size, s.clusters) = (1 << 20, 0);
            });
            assert!(tracked && fuses_block_attention(&x, &exact));
            assert!(looks_up(1) && looks_up(32) && !looks_up(33));
            // Of 10 far chunks of 4 clusters these are all.
            assert!(!looks_up(39) && looks_up(40) && looks_up(100));
            // But of rounded ones, all are no dense attention.
            let in_few_bits = |best| looks_up_in(KvBits::Eight, HeadLevels::LOOKUPS, best);
            assert!(in_few_bits(32) && !in_few_bits(33) && !in_few_bits(100));
            // The one head looks nothing up.
            let levels = HeadLevels::new(&[HeadLevel::Clusters]);
            assert!(looks_up_in(KvBits::Eight, levels, 33));
        }
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_other_shapes() {
    let device = &plain_devices()[0];
    let [q, k, _] = inputs([1, 1, 3, 4], device);
    let v = tensor([1, 1, 2, 4], 3, 1.0, device);
    block_attention(q, k, v, BlockStates::Off, SETTINGS, 1.0);
}
