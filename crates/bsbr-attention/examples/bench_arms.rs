//! Times the arms against dense attention at growing lengths.
//!
//! `cargo run -p bsbr-attention --example bench_arms [-- --heads 12 --max 8192]`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use bsbr_attention::{
    ArmConfig, Attention, AttentionInput, HeadShape, LocalConfig, MomentsConfig, Padding,
    PublishedConfig,
};
use burn::tensor::{Device, Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let heads = flag("--heads").unwrap_or(12);
    let longest = flag("--max").unwrap_or(8192);
    let device = Device::default();
    let shape = HeadShape {
        num_heads: heads,
        head_dim: 64,
        hidden_size: heads * 64,
    };
    let moments = MomentsConfig::default();
    let arms = [
        ("dense", ArmConfig::Dense),
        ("local", ArmConfig::Local(LocalConfig::default())),
        (
            "published",
            ArmConfig::Published(PublishedConfig::default()),
        ),
        ("moments", ArmConfig::Moments(moments.clone())),
        (
            "moments, no state",
            ArmConfig::Moments(MomentsConfig {
                state: false,
                ..moments.clone()
            }),
        ),
        (
            "moments, t = 4",
            ArmConfig::Moments(MomentsConfig {
                exact_clusters: 4,
                ..moments
            }),
        ),
    ];
    println!("milliseconds of a forward pass, H = {heads}, D = 64 (median of 5)");
    print!("{:>20}", "N");
    let mut lengths = Vec::new();
    let mut tokens = 512;
    while tokens <= longest {
        print!("{tokens:>10}");
        lengths.push(tokens);
        tokens *= 2;
    }
    println!();
    for (name, config) in arms {
        print!("{name:>20}");
        let attention = Attention::new(config, shape, &device)?;
        for &tokens in &lengths {
            let input = input(shape, tokens, &device);
            print!("{:>10.1}", median_time(|| attention.forward(input.clone())));
        }
        println!();
    }
    Ok(())
}

fn input(shape: HeadShape, tokens: usize, device: &Device) -> AttentionInput {
    let normal = Distribution::Normal(0.0, 1.0);
    let random = || Tensor::random([1, shape.num_heads, tokens, shape.head_dim], normal, device);
    AttentionInput {
        query: random(),
        key: random(),
        value: random(),
        hidden_states: Tensor::random([1, tokens, shape.hidden_size], normal, device),
        scale: 0.125,
        padding: Padding::none(),
    }
}

fn median_time(run: impl Fn() -> Tensor<4>) -> f64 {
    let mut times: Vec<f64> = (0..6)
        .map(|_| {
            let start = Instant::now();
            // Reading one number waits for devices that compute asynchronously.
            let _ = run().slice([0..1, 0..1, 0..1, 0..1]).into_data();
            start.elapsed().as_secs_f64() * 1e3
        })
        .skip(1)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn flag(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|a| a != name);
    arguments.nth(1)?.parse().ok()
}
