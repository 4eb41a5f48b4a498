//! Continues a prompt with the model in a folder, dense or converted.
//!
//! `cargo run -p bsbr-convert --example generate -- assets/bundled "Mara keeps"`
#![allow(clippy::print_stdout)]

use bsbr_convert::burn::tensor::Device;
use bsbr_convert::{LoadOptions, load_model};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{GenerationConfig, TokenBatch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("give a model folder and a prompt");
    let (folder, prompt) = (next()?, next()?);

    let model = load_model(&folder, &LoadOptions::on(&Device::default()))?.model;
    let tokenizer = TextTokenizer::from_folder(&folder)?;
    let batch = TokenBatch::single(&tokenizer.encode(&prompt)?)?;
    let settings = GenerationConfig {
        max_new_tokens: 40,
        ..GenerationConfig::default()
    };
    for new in model.generate(&batch, &settings)? {
        println!("{prompt}{}", tokenizer.decode(&new)?);
    }
    Ok(())
}
