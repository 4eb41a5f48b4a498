//! Where a model with weights in half precision computes in f32, its results are those of the same
//! weights in f32.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{arm, assert_close, config, floats, ids, load_with, single, streamed};
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::{DType, Device};

const ARMS: [&str; 6] = [
    "dense",
    "local:chunk_size=5,sink_tokens=2",
    "published:chunk_size=5",
    "moments:chunk_size=5,sink_tokens=2,clusters=2",
    "moments:chunk_size=5,sink_tokens=2,clusters=2,state=true,learned=true",
    "moments:chunk_size=5,sink_tokens=2,clusters=2,exact_clusters=1",
];

/// A model whose weights are in half precision, and the same weights as f32.
fn pair(text: &str, dtype: DType) -> [Gpt2; 2] {
    let config = config("base").with_arm(arm(text));
    let half = cast_tensors(load_with(&config, "base", &Device::default()), dtype);
    assert_eq!(half.wte.weight.val().dtype(), dtype);
    let single = cast_tensors(half.clone(), DType::F32);
    [half, single]
}

/// Logits of a model that computes in f32.
fn logits(model: &Gpt2, batch: &TokenBatch) -> Vec<f32> {
    assert_eq!(model.embed(batch, 0).dtype(), DType::F32);
    crate::common::logits(model, batch)
}

#[test]
fn every_arm_gives_what_it_gives_with_the_same_weights_as_f32() {
    if !bsbr_kernels::fuses_mixed_matmul(&Device::default()) {
        return;
    }
    let ids = ids(40);
    let single_row = single(&ids);
    let padded = TokenBatch::padded(&[&ids[..23], &ids[4..9], &ids[2..35]]).expect("rows");
    for arm in ARMS {
        for dtype in [DType::BF16, DType::F16] {
            let [half, single] = pair(arm, dtype);
            let what = format!("{arm} in {dtype:?}");
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
    let batch = single(&[5, 3, 8, 1, 90, 14, 2, 2, 31]);
    let [half, single] = pair("dense", DType::BF16);
    let expected = logits(&single, &batch);
    let config = config("base");
    let device = Device::default().autodiff();
    let rounded = cast_tensors(load_with(&config, "base", &device), DType::BF16);
    let rounded = crate::common::logits(&rounded, &batch);
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
    let batch = single(&ids(70));
    let stretched = |model: Gpt2| {
        let extension = bsbr_gpt2::PositionExtension::Interpolate { positions: 80 };
        let model = model.with_position_extension(extension);
        logits(&model.expect("positions"), &batch)
    };
    let [half, single] = pair("dense", DType::F16).map(stretched);
    assert_close(&half, &single, "stretched positions");
}
