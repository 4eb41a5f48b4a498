//! A GPT-2 with a different arm in each layer, and what a token adds to its cache.
//!
//! `cargo run -p bsbr-gpt2 --example layers`
#![allow(clippy::print_stdout)]

use bsbr_gpt2::burn::tensor::Device;
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};

/// `bsbr` is what a converted folder's `config.json` has beside what GPT-2 has.
const CONFIG: &str = r#"{
    "vocab_size": 97, "n_positions": 2048, "n_embd": 64, "n_layer": 3, "n_head": 4,
    "bsbr": { "version": 1, "layers": [
        { "arm": "dense" },
        { "arm": "moments", "chunk_size": 32, "clusters": 4 },
        { "arm": "local", "chunk_size": 32 }
    ] }
}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Gpt2Config::from_json(CONFIG)?;
    let model = Gpt2::init(&config, 42, &Device::default())?;
    let mut cache = model.new_cache();
    for piece in 0..4u32 {
        let ids: Vec<u32> = (0..256).map(|at| (piece * 31 + at * at) % 97).collect();
        model.forward_cached(&TokenBatch::single(&ids)?, &mut cache)?;
        println!("{} tokens: {} bytes", cache.length_of_row(0), cache.bytes());
    }
    Ok(())
}
