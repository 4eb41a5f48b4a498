//! Weights in half precision give what they give as f32, where a model with them computes in f32.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{assert_close, config, floats, load_with};
use bsbr_attention::{ArmConfig, LocalConfig, MomentsConfig, PublishedConfig};
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::{DType, Device, Tensor};

fn arms() -> Vec<ArmConfig> {
    let moments = MomentsConfig {
        chunk_size: 5,
        near_chunks: 1,
        sink_tokens: 2,
        clusters: 2,
        ..Default::default()
    };
    vec![
        ArmConfig::DENSE,
        ArmConfig::Local(LocalConfig {
            chunk_size: 5,
            near_chunks: 1,
            sink_tokens: 2,
        }),
        ArmConfig::Published(PublishedConfig {
            chunk_size: 5,
            compression: 1,
        }),
        ArmConfig::Moments(moments.clone()),
        ArmConfig::Moments(MomentsConfig {
            state: true,
            learned: true,
            ..moments.clone()
        }),
        ArmConfig::Moments(MomentsConfig {
            exact_clusters: 1,
            ..moments
        }),
    ]
}

/// A model whose weights are in half precision, and the same weights as f32.
fn pair(arm: &ArmConfig, dtype: DType) -> [Gpt2; 2] {
    let config = config("base").with_arm(arm.clone());
    let half = cast_tensors(load_with(&config, "base", &Device::default()), dtype);
    assert_eq!(half.wte.weight.val().dtype(), dtype);
    let single = cast_tensors(half.clone(), DType::F32);
    [half, single]
}

fn logits(model: &Gpt2, batch: &TokenBatch) -> Vec<f32> {
    let hidden = model.hidden_states(batch).expect("a batch");
    assert_eq!(hidden.dtype(), DType::F32);
    floats(model.logits(hidden))
}

fn streamed(model: &Gpt2, ids: &[u32], piece: usize) -> Vec<f32> {
    let mut cache = model.new_cache();
    let logits = ids
        .chunks(piece)
        .map(|ids| {
            let batch = TokenBatch::single(ids).expect("ids");
            let hidden = model.forward_cached(&batch, &mut cache).expect("a piece");
            model.logits(hidden)
        })
        .collect();
    floats(Tensor::cat(logits, 1))
}

#[test]
fn every_arm_gives_what_it_gives_with_the_same_weights_as_f32() {
    if !bsbr_kernels::fuses_mixed_matmul(&Device::default()) {
        return;
    }
    let ids: Vec<u32> = (0..40).map(|i| (i * 31 + 7) % 97).collect();
    let single_row = TokenBatch::single(&ids).expect("ids");
    let padded = TokenBatch::padded(&[&ids[..23], &ids[4..9], &ids[2..35]]).expect("rows");
    for arm in arms() {
        for dtype in [DType::BF16, DType::F16] {
            let [half, single] = pair(&arm, dtype);
            let what = format!("{arm:?} in {dtype:?}");
            let expected = logits(&single, &single_row);
            assert_close(&logits(&half, &single_row), &expected, &what);
            for piece in [1, 7, 39] {
                let what = format!("{what}, pieces of {piece}");
                assert_close(&streamed(&half, &ids, piece), &expected, &what);
            }
            let what = format!("{what}, rows of unequal length");
            assert_close(&logits(&half, &padded), &logits(&single, &padded), &what);
            let last = |model: &Gpt2| {
                floats(model.last_logits(model.hidden_states(&padded).expect("rows")))
            };
            assert_close(&last(&half), &last(&single), &what);
        }
    }
}

/// What would come of activations in half precision too is further off.
#[test]
fn activations_are_not_rounded() {
    if !bsbr_kernels::fuses_mixed_matmul(&Device::default()) {
        return;
    }
    let batch = TokenBatch::single(&[5, 3, 8, 1, 90, 14, 2, 2, 31]).expect("ids");
    let [half, single] = pair(&ArmConfig::DENSE, DType::BF16);
    let expected = logits(&single, &batch);
    let config = config("base");
    let device = Device::default().autodiff();
    let rounded = cast_tensors(load_with(&config, "base", &device), DType::BF16);
    let rounded = floats(rounded.logits(rounded.hidden_states(&batch).expect("a batch")));
    let off = crate::common::distance(&rounded, &expected);
    assert!(off > 10.0 * crate::common::TOLERANCE, "{off}");
    assert_close(&logits(&half, &batch), &expected, "weights alone");
}

/// Positions between two embeddings are mixed in f32.
#[test]
fn stretched_positions_are_mixed_in_f32() {
    if !bsbr_kernels::fuses_mixed_matmul(&Device::default()) {
        return;
    }
    let ids: Vec<u32> = (0..70).map(|i| (i * 13 + 5) % 97).collect();
    let batch = TokenBatch::single(&ids).expect("ids");
    let stretched = |model: Gpt2| {
        let extension = bsbr_gpt2::PositionExtension::Interpolate { positions: 80 };
        logits(
            &model.with_position_extension(extension).expect("positions"),
            &batch,
        )
    };
    let [half, single] = pair(&ArmConfig::DENSE, DType::F16).map(stretched);
    assert_close(&half, &single, "stretched positions");
}
