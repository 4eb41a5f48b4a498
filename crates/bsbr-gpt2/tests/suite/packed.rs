//! Models with packed weights.
#![allow(clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stderr)] // what a processor lacks is said

use crate::common::{config, distance, floats, load_with};
use bsbr_attention::{ArmConfig, MomentsConfig};
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, PackError, ProductType, TokenBatch};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};

fn arms() -> [ArmConfig; 2] {
    let moments = MomentsConfig {
        chunk_size: 5,
        near_chunks: 1,
        sink_tokens: 2,
        clusters: 2,
        ..Default::default()
    };
    [ArmConfig::DENSE, ArmConfig::Moments(moments)]
}

fn model(arm: &ArmConfig) -> Gpt2 {
    load_with(
        &config("base").with_arm(arm.clone()),
        "base",
        &Device::flex(),
    )
}

/// The largest distance, of the largest logit.
fn off(found: &[f32], expected: &[f32]) -> f32 {
    distance(found, expected) / expected.iter().fold(0.0, |max, x| x.abs().max(max))
}

/// Types of products that this processor has, and how far they may take logits.
fn types(model: &Gpt2) -> Vec<(ProductType, f32)> {
    let all = [
        (ProductType::F32, 1e-5),
        (ProductType::Bf16, 2e-2),
        (ProductType::Int8, 6e-2),
        (ProductType::Int4, 0.4),
    ];
    let has = |products| match model.clone().with_packed_weights(products) {
        Ok(_) => true,
        Err(error) => {
            assert!(!products.is_portable(), "{error}");
            eprintln!("skipped: {error}");
            false
        }
    };
    all.into_iter()
        .filter(|&(products, _)| has(products))
        .collect()
}

fn ids() -> Vec<u32> {
    (0..40).map(|i| (i * 31 + 7) % 97).collect()
}

fn logits(model: &Gpt2, batch: &TokenBatch) -> Vec<f32> {
    floats(model.logits(model.hidden_states(batch).expect("a batch")))
}

#[test]
fn logits_are_near_those_of_the_model() {
    let batch = TokenBatch::single(&ids()).expect("ids");
    for arm in arms() {
        let plain = model(&arm);
        assert_eq!(plain.packed_bytes(), 0);
        let expected = logits(&plain, &batch);
        for (products, most) in types(&plain) {
            let packed = plain.clone().with_packed_weights(products).expect("packed");
            assert!(packed.packed_bytes() > 0);
            let off = off(&logits(&packed, &batch), &expected);
            assert!(off < most, "{products:?}: {off}");
            let is_rounded = off > 1e-4;
            assert_eq!(
                is_rounded,
                products != ProductType::F32,
                "{products:?}: {off}"
            );
        }
    }
}

/// A row of a packed product does not depend on how many there are, so that pieces of any size differ
/// from the whole by what attention does to them.
#[test]
fn pieces_give_what_the_whole_gives() {
    for arm in arms() {
        let plain = model(&arm);
        for (products, _) in types(&plain) {
            let packed = plain.clone().with_packed_weights(products).expect("packed");
            let expected = logits(&packed, &TokenBatch::single(&ids()).expect("ids"));
            for piece in [1, 7, 39] {
                let mut cache = packed.new_cache();
                let found = ids()
                    .chunks(piece)
                    .map(|ids| {
                        let batch = TokenBatch::single(ids).expect("ids");
                        let hidden = packed.forward_cached(&batch, &mut cache).expect("a piece");
                        packed.logits(hidden)
                    })
                    .collect();
                let off = off(&floats(Tensor::cat(found, 1)), &expected);
                // What differs in the last place before it is rounded may be a step apart behind.
                let most = if products == ProductType::F32 {
                    1e-5
                } else {
                    1e-2
                };
                assert!(off < most, "{products:?}, pieces of {piece}: {off}");
            }
        }
    }
}

#[test]
fn later_tokens_change_nothing() {
    let plain = model(&ArmConfig::DENSE);
    for (products, _) in types(&plain) {
        let packed = plain.clone().with_packed_weights(products).expect("packed");
        let mut other = ids();
        other[30..].fill(3);
        let [a, b] =
            [ids(), other].map(|ids| logits(&packed, &TokenBatch::single(&ids).expect("ids")));
        let before = a.len() / 40 * 30;
        assert!(a[..before] == b[..before], "{products:?}");
        assert!(a[before..] != b[before..], "{products:?}");
    }
}

/// Whatever maps the parameters of a model leaves no packed weights that are not theirs.
#[test]
fn changed_parameters_are_used() {
    let plain = model(&ArmConfig::DENSE);
    let packed = plain
        .clone()
        .with_packed_weights(ProductType::Int8)
        .expect("packed");
    let bytes = packed.packed_bytes();
    assert_eq!(packed.valid().packed_bytes(), bytes);
    assert_eq!(packed.clone().no_grad().packed_bytes(), 0);
    assert_eq!(packed.clone().to_device(&Device::flex()).packed_bytes(), 0);
    let cast = cast_tensors(packed, DType::F32);
    assert_eq!(cast.packed_bytes(), 0);
    let batch = TokenBatch::single(&ids()).expect("ids");
    assert!(logits(&cast, &batch) == logits(&plain, &batch));
}

#[test]
fn gradients_are_those_of_the_weights() {
    let device = Device::flex().autodiff();
    let plain = load_with(&config("base"), "base", &device);
    let packed = plain
        .clone()
        .with_packed_weights(ProductType::Int8)
        .expect("packed");
    let batch = TokenBatch::single(&ids()).expect("ids");
    assert!(logits(&packed, &batch) == logits(&plain, &batch));
}

/// Passes with gradients round, others do not, and another packing of the same weights is shared.
#[test]
fn training_in_bf16_rounds_only_passes_with_gradients() {
    let device = Device::flex().autodiff();
    let batch = TokenBatch::single(&ids()).expect("ids");
    for arm in arms() {
        let config = config("base").with_arm(arm);
        let plain = load_with(&config, "base", &device);
        let packed = plain.clone().with_bf16_training();
        assert!(packed.bf16_output().is_some() && packed.products().is_none());
        let expected = logits(&plain, &batch);
        assert!(logits(&packed.valid(), &batch) == expected);
        let hidden = |model: &Gpt2| floats(model.hidden_states(&batch).expect("a batch"));
        let off = off(&hidden(&packed), &hidden(&plain));
        assert!((1e-5..3e-2).contains(&off), "{off}");
        let shared = plain.clone().with_packed_weights_of(&packed);
        assert!(hidden(&shared) == hidden(&packed));
        assert_eq!(shared.packed_bytes(), packed.packed_bytes());
        assert_eq!(packed.clone().no_grad().packed_bytes(), 0);
        assert!(packed.no_grad().bf16_output().is_none());
    }
}

#[test]
fn what_cannot_be_packed_is_an_error() {
    if Device::default() == Device::flex() {
        return;
    }
    let model = load_with(&config("base"), "base", &Device::default());
    let error = model
        .with_packed_weights(ProductType::Int8)
        .expect_err("another device");
    assert!(matches!(error, PackError::NotPossible { .. }), "{error}");
}
