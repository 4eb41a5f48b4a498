//! A model that a test can train.

use std::path::Path;

use bsbr_convert::{SaveOptions, save_model};
use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use burn::tensor::Device;

/// A GPT-2 of two layers with a tokenizer of its own, as a folder.
#[allow(dead_code)] // Each test has its own.
pub fn model(folder: &Path) {
    model_of(96, folder);
}

/// The same, for texts of so many tokens.
pub fn model_of(positions: usize, folder: &Path) {
    let texts: Vec<String> = Domain::ALL
        .iter()
        .map(|&domain| Storybook::new(7).plain(Split::Train, domain, 0, 600).text)
        .collect();
    let tokenizer = TextTokenizer::train_bpe(texts, 400).unwrap();
    let config = Gpt2Config::from_json(&format!(
        r#"{{"model_type": "gpt2", "vocab_size": {}, "n_positions": {positions},
            "n_embd": 32, "n_layer": 2, "n_head": 2}}"#,
        tokenizer.vocab_size()
    ))
    .unwrap();
    let model = Gpt2::init(&config, 1, &Device::flex()).unwrap();
    save_model(&model, folder, &SaveOptions::default()).unwrap();
    tokenizer.save(folder).unwrap();
}
