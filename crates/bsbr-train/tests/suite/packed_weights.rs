//! The bundled model with packed weights: the effect of rounding on its predictions.
#![allow(clippy::print_stderr)] // what a processor lacks is said

use std::path::Path;

use bsbr_convert::{FloatType, LoadOptions, SaveOptions, load_model, save_model};
use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, ProductType};
use bsbr_train::evaluate::negative_log_likelihood;
use burn::tensor::Device;

const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/bundled");

/// Mean over all tokens that have one before them.
fn mean_nll(model: &Gpt2, texts: &[Vec<u32>]) -> f64 {
    let sums = texts
        .iter()
        .map(|ids| negative_log_likelihood(model, ids, 1..ids.len()).unwrap());
    let tokens: usize = texts.iter().map(|ids| ids.len() - 1).sum();
    sums.sum::<f64>() / tokens as f64
}

#[test]
fn rounded_weights_change_perplexity_by_less_than_a_hundredth() {
    let tokenizer = TextTokenizer::from_folder(BUNDLED).unwrap();
    let book = Storybook::new(0);
    let texts: Vec<Vec<u32>> = Domain::ALL
        .into_iter()
        .map(|domain| book.plain(Split::Test, domain, 7, 400).text)
        .map(|text| tokenizer.encode_document(&text).unwrap())
        .collect();
    let options = LoadOptions {
        dtype: Some(FloatType::F32),
        ..LoadOptions::on(&Device::flex())
    };
    let model = load_model(BUNDLED, &options).unwrap().model;
    let expected = mean_nll(&model, &texts);
    for (products, most) in [
        (ProductType::F32, 1e-5),
        (ProductType::Bf16, 2e-3),
        (ProductType::Int8, 1e-2),
        (ProductType::Int4, 0.2),
    ] {
        let packed = match model.clone().with_packed_weights(products) {
            Ok(packed) => packed,
            Err(error) if !products.is_portable() => {
                eprintln!("skipped: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let change = (mean_nll(&packed, &texts) - expected).exp() - 1.0;
        assert!(change.abs() < most, "{products:?}: {change:+.5}");
        let is_rounded = change != 0.0;
        assert!(is_rounded, "{products:?}: the packed weights are not used");
    }
}

/// Weights that stay in half precision give the likelihood of the rounded weights in f32.
#[test]
fn weights_in_half_precision_have_a_likelihood() {
    let device = Device::flex();
    let load = |folder: &Path, dtype| {
        let options = LoadOptions {
            dtype,
            ..LoadOptions::on(&device)
        };
        load_model(folder, &options).unwrap().model
    };
    let model = load(Path::new(BUNDLED), Some(FloatType::F32));
    let ids: Vec<u32> = (0..600).map(|id| id % 211).collect();
    for dtype in [FloatType::F16, FloatType::Bf16] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("half");
        let options = SaveOptions {
            dtype,
            ..SaveOptions::default()
        };
        save_model(&model, &out, &options).unwrap();
        let half = load(&out, None);
        assert_eq!(half.wte.weight.val().dtype().size(), 2);
        let rounded = load(&out, Some(FloatType::F32));
        for scored in [1..600, 400..500] {
            let found = negative_log_likelihood(&half, &ids, scored.clone()).unwrap();
            let expected = negative_log_likelihood(&rounded, &ids, scored).unwrap();
            let off = (found - expected).abs() / expected;
            assert!(off < 1e-5, "{dtype:?}: {found} for {expected}");
        }
    }
}
