//! Converts a model folder to an arm, and writes the result.
//!
//! `cargo run -p bsbr-convert --example convert -- assets/bundled converted moments:chunk_size=64`
#![allow(clippy::print_stdout)]

use bsbr_convert::burn::tensor::Device;
use bsbr_convert::{ConversionPlan, LoadOptions, SaveOptions, convert, load_model, save_model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("give a model folder, a new folder and an arm")
    };
    let (folder, out, arm) = (next()?, next()?, next()?);

    let loaded = load_model(&folder, &LoadOptions::on(&Device::default()))?;
    let plan = ConversionPlan::parse(&arm, None)?;
    let options = SaveOptions {
        // The tokenizer, and what else the folder has.
        companions: loaded.folder.companions(),
        ..SaveOptions::default()
    };
    save_model(&convert(loaded.model, &plan)?, &out, &options)?;
    println!("{out}");
    Ok(())
}
