//! An arm with custom settings, compared with dense attention: the distance of its output, and what it
//! keeps.
//!
//! `cargo run -p bsbr-attention --example own_arm -- moments:chunk_size=64,clusters=16`
#![allow(clippy::print_stdout)]

use bsbr_attention::burn::tensor::{Device, Distribution, Tensor};
use bsbr_attention::{ArmConfig, Attention, AttentionInput, HeadShape, Padding};

const TOKENS: usize = 2048;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arm = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "moments".to_owned());
    let arm: ArmConfig = arm.parse()?;
    let device = Device::default();
    let shape = HeadShape {
        num_heads: 4,
        head_dim: 64,
        hidden_size: 256,
    };
    let random = || {
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::<4>::random(
            [1, shape.num_heads, TOKENS, shape.head_dim],
            normal,
            &device,
        )
    };
    let input = AttentionInput {
        query: random(),
        key: random(),
        value: random(),
        hidden_states: Tensor::zeros([1, TOKENS, shape.hidden_size], &device),
        scale: 1.0 / (shape.head_dim as f64).sqrt(),
        padding: Padding::none(),
    };
    let dense = Attention::new(ArmConfig::DENSE, shape, &device)?.forward(input.clone());
    let own = Attention::new(arm.clone(), shape, &device)?.forward(input);
    let error = (own - dense.clone()).powi_scalar(2).sum() / dense.powi_scalar(2).sum();
    println!("{arm}");
    println!(
        "squared error relative to dense: {:.5}",
        error.into_scalar::<f32>()
    );
    let share = |of: fn(&ArmConfig) -> f64| 100.0 * of(&arm) / of(&ArmConfig::DENSE);
    println!(
        "pairs computed: {:.1} %",
        share(|arm| arm.exact_pairs(TOKENS))
    );
    println!(
        "numbers kept: {:.1} %",
        share(|arm| arm.cache_numbers(TOKENS, 64))
    );
    Ok(())
}
