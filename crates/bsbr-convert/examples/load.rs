//! Loads a model folder and prints its contents.
//!
//! `cargo run -p bsbr-convert --example load -- assets/bundled`
#![allow(clippy::print_stdout)]

use bsbr_convert::burn::module::Module;
use bsbr_convert::burn::tensor::Device;
use bsbr_convert::{LoadOptions, load_model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("give a model folder")?;
    let loaded = load_model(&folder, &LoadOptions::on(&Device::default()))?;
    let config = &loaded.config;
    println!(
        "{} parameters, {} tokens, {} positions",
        loaded.model.num_params(),
        config.vocab_size,
        config.n_positions
    );
    for layer in 0..config.n_layer {
        println!("layer {layer}: {}", config.arm(layer));
    }
    for name in &loaded.report.unexpected {
        println!("left out: {name}");
    }
    Ok(())
}
