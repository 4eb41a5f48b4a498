//! Compares the perplexity of a model and of its conversion on a text.
//!
//! `cargo run -p bsbr-convert --example evaluate -- assets/bundled moments README.md`
#![allow(clippy::print_stdout)]

use bsbr_convert::burn::tensor::activation::log_softmax;
use bsbr_convert::burn::tensor::{Device, Int, Tensor};
use bsbr_convert::{ConversionPlan, LoadOptions, convert, load_model};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, TokenBatch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("give a model folder, an arm and a text file")
    };
    let (folder, arm, file) = (next()?, next()?, next()?);

    let dense = load_model(&folder, &LoadOptions::on(&Device::default()))?.model;
    let converted = convert(dense.clone(), &ConversionPlan::parse(&arm, None)?)?;

    let tokenizer = TextTokenizer::from_folder(&folder)?;
    let mut ids = tokenizer.encode(&std::fs::read_to_string(file)?)?;
    ids.truncate(dense.config().n_positions);
    for (name, model) in [("dense", &dense), (arm.as_str(), &converted)] {
        println!(
            "{name}: perplexity {:.3} of {} tokens",
            perplexity(model, &ids)?,
            ids.len()
        );
    }
    Ok(())
}

/// exp of the mean negative log likelihood of all tokens but the first.
fn perplexity(model: &Gpt2, ids: &[u32]) -> Result<f64, Box<dyn std::error::Error>> {
    let before = &ids[..ids.len().checked_sub(1).ok_or("the text is empty")?];
    let hidden = model.hidden_states(&TokenBatch::single(before)?)?;
    let log_probabilities = log_softmax(model.logits(hidden), 2).squeeze_dim::<2>(0);
    let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
    let device = log_probabilities.device();
    let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &device).unsqueeze_dim(1);
    let nats = -log_probabilities.gather(1, targets).mean();
    Ok(f64::from(nats.into_scalar::<f32>()).exp())
}
