//! Models with packed weights.
#![allow(clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stderr)] // what a processor lacks is said

use crate::common::{arm, config, distance, floats, ids, load_with, logits, single, streamed};
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, PackError, ProductType};
use burn::module::Module;
use burn::tensor::{DType, Device};

const ARMS: [&str; 2] = ["dense", "moments:chunk_size=5,sink_tokens=2,clusters=2"];

fn model(text: &str) -> Gpt2 {
    load_with(&config("base").with_arm(arm(text)), "base", &Device::flex())
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

#[test]
fn logits_are_near_those_of_the_model() {
    let batch = single(&ids(40));
    for arm in ARMS {
        let plain = model(arm);
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
    for arm in ARMS {
        let plain = model(arm);
        for (products, _) in types(&plain) {
            let packed = plain.clone().with_packed_weights(products).expect("packed");
            let expected = logits(&packed, &single(&ids(40)));
            for piece in [1, 7, 39] {
                let off = off(&streamed(&packed, &ids(40), piece), &expected);
                // What differs in the last place before it is rounded may be a step apart behind.
                let most = match products {
                    ProductType::F32 => 1e-5,
                    _ => 1e-2,
                };
                assert!(off < most, "{products:?}, pieces of {piece}: {off}");
            }
        }
    }
}

#[test]
fn later_tokens_change_nothing() {
    let plain = model("dense");
    for (products, _) in types(&plain) {
        let packed = plain.clone().with_packed_weights(products).expect("packed");
        let mut other = ids(40);
        other[30..].fill(3);
        let [a, b] = [ids(40), other].map(|ids| logits(&packed, &single(&ids)));
        let before = a.len() / 40 * 30;
        assert!(a[..before] == b[..before], "{products:?}");
        assert!(a[before..] != b[before..], "{products:?}");
    }
}

/// Whatever maps the parameters of a model leaves no packed weights that are not theirs.
#[test]
fn changed_parameters_are_used() {
    let plain = model("dense");
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
    let batch = single(&ids(40));
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
    let batch = single(&ids(40));
    assert!(logits(&packed, &batch) == logits(&plain, &batch));
}

/// Passes with gradients round, others do not, and another packing of the same weights is shared.
#[test]
fn training_in_bf16_rounds_only_passes_with_gradients() {
    let device = Device::flex().autodiff();
    let batch = single(&ids(40));
    for text in ARMS {
        let config = config("base").with_arm(arm(text));
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
