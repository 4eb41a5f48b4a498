//! Times the arms against dense attention at growing lengths.
//!
//! `cargo run -p bsbr-attention --example bench_arms [-- --heads 12 --max 8192 --rounds 7]`
//!
//! `-- --only "moments"` times that arm alone. `-- --arms "moments;moments:span=16"` times other arms
//! and compares them with the first. `--min 16384` begins with longer texts.
//!
//! `-- --memory "moments" --max 8192` prints instead by how much the memory of a fresh process grows in
//! one forward pass of that arm (on Linux), without counting its input.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use bsbr_attention::{Attention, AttentionInput, HeadShape, Padding, split_arms};
use burn::tensor::{Device, Distribution, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let heads = number("--heads").unwrap_or(12);
    let longest = number("--max").unwrap_or(8192);
    let rounds = number("--rounds").unwrap_or(7);
    let device = Device::default();
    let shape = HeadShape {
        num_heads: heads,
        head_dim: 64,
        hidden_size: heads * 64,
    };
    if let Some(name) = argument("--memory") {
        for (arm, config) in ARMS.into_iter().filter(|(arm, _)| *arm == name) {
            let attention = Attention::new(config.parse()?, shape, &device)?;
            let growth = memory_growth(&attention, input(shape, longest, &device))?;
            println!("{arm}, N = {longest}: {growth:.1} MiB");
        }
        return Ok(());
    }
    let only = argument("--only");
    let typed = argument("--arms");
    let all: Vec<(&str, &str)> = match &typed {
        None => ARMS.to_vec(),
        Some(typed) => split_arms(typed)
            .into_iter()
            .map(|arm| (arm, arm))
            .collect(),
    };
    let mut arms = Vec::new();
    for (name, arm) in all {
        if only.as_ref().is_none_or(|only| only == name) {
            arms.push((name, Attention::new(arm.parse()?, shape, &device)?));
        }
    }
    println!(
        "milliseconds of a forward pass (median of {rounds}, interleaved), and their ratio to \
         the first; H = {heads}, D = 64"
    );
    print!("{:>8}", "N");
    arms.iter().for_each(|(name, _)| print!("{name:>20}"));
    println!();
    let mut tokens = number("--min").unwrap_or(256);
    while tokens <= longest {
        let input = input(shape, tokens, &device);
        let mut times = vec![Vec::new(); arms.len()];
        // The first round warms up.
        for round in 0..=rounds {
            for ((_, attention), times) in arms.iter().zip(&mut times) {
                let time = time(|| attention.forward(input.clone()));
                times.extend((round > 0).then_some(time));
            }
        }
        let medians: Vec<_> = times.into_iter().map(median).collect();
        print!("{tokens:>8}");
        for time in &medians {
            print!("{time:>13.1} {:>6.2}", time / medians[0]);
        }
        println!();
        tokens *= 2;
    }
    Ok(())
}

/// Names and settings; the first is what the others are compared with.
const ARMS: [(&str, &str); 7] = [
    ("dense", "dense"),
    ("local", "local"),
    ("published", "published"),
    ("moments", "moments:state=true,exact_clusters=0,kv_bits=32"),
    ("moments, no state", "moments:exact_clusters=0,kv_bits=32"),
    ("moments, t = 8", "moments:exact_clusters=8,kv_bits=32"),
    ("moments, default", "moments"),
];

fn input(shape: HeadShape, tokens: usize, device: &Device) -> AttentionInput {
    let normal = Distribution::Normal(0.0, 1.0);
    // Laid out as the projections of a model leave it.
    let random = || {
        let rows = [1, tokens, shape.num_heads, shape.head_dim];
        Tensor::<4>::random(rows, normal, device).swap_dims(1, 2)
    };
    AttentionInput {
        query: random(),
        key: random(),
        value: random(),
        hidden_states: Tensor::random([1, tokens, shape.hidden_size], normal, device),
        scale: 0.125,
        padding: Padding::none(),
    }
}

fn time(run: impl Fn() -> Tensor<4>) -> f64 {
    let start = Instant::now();
    // Reading one number waits for devices that compute asynchronously.
    let _ = run().slice([0..1, 0..1, 0..1, 0..1]).into_data();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// MiB by which the highest resident memory lies above what is resident before.
fn memory_growth(attention: &Attention, input: AttentionInput) -> std::io::Result<f64> {
    // Sets the highest back to what there is now.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = resident("VmRSS:")?;
    let output = attention.forward(input);
    let highest = resident("VmHWM:")?;
    drop(output);
    Ok((highest - before) / 1024.0)
}

/// A line of the process's status, in KiB.
fn resident(name: &str) -> std::io::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(number.unwrap_or(f64::NAN))
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != name).nth(1)
}

fn number(name: &str) -> Option<usize> {
    argument(name)?.parse().ok()
}
