//! The bundled model with packed weights: what their rounding does to its predictions.
#![allow(clippy::print_stderr)] // what a processor lacks is said

use bsbr_convert::{FloatType, LoadOptions, load_model};
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
    ] {
        let packed = match model.clone().with_packed_weights(products) {
            Ok(packed) => packed,
            Err(error) if products != ProductType::Int8 => {
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
