//! Times training steps in f32 and in half precision, for models of several shapes.
//!
//! `cargo bench --workspace --profile dev --bench precision`. The steps of a shape take turns, in
//! rotating order, and each ratio is between times of the same round.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark prints, and fails by panicking

use std::time::Instant;

use bsbr_convert::FloatType;
use bsbr_gpt2::Gpt2Config;
use bsbr_train::measured_step::{Division, MeasuredStep};
use burn::tensor::Device;
// The allocator of the commands, which keeps the memory of tensors for the next ones.
use xtask as _;

/// A model and the batch of its step.
struct Shape {
    name: &'static str,
    vocab_size: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    rows: usize,
    window: usize,
    rounds: usize,
    precisions: &'static [FloatType],
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "four layers of 256 dimensions",
        vocab_size: 3072,
        n_embd: 256,
        n_layer: 4,
        n_head: 4,
        rows: 8,
        window: 256,
        rounds: 15,
        precisions: &[FloatType::F32, FloatType::Bf16, FloatType::F16],
    },
    Shape {
        name: "the bundled model",
        vocab_size: 3072,
        n_embd: 192,
        n_layer: 4,
        n_head: 3,
        rows: 8,
        window: 512,
        rounds: 15,
        precisions: &[FloatType::F32, FloatType::Bf16, FloatType::F16],
    },
    Shape {
        name: "GPT-2",
        vocab_size: 50_257,
        n_embd: 768,
        n_layer: 12,
        n_head: 12,
        rows: 1,
        window: 512,
        rounds: 9,
        precisions: &[FloatType::F32, FloatType::Bf16],
    },
];

fn main() {
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    for shape in &SHAPES {
        compare(shape);
    }
}

fn compare(shape: &Shape) {
    let config = Gpt2Config {
        vocab_size: shape.vocab_size,
        n_positions: 1024,
        n_embd: shape.n_embd,
        n_layer: shape.n_layer,
        n_head: shape.n_head,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    println!(
        "{}, {} rows of {} tokens, {} rounds",
        shape.name, shape.rows, shape.window, shape.rounds
    );
    let step = |&precision: &FloatType| {
        let (rows, window) = (shape.rows, shape.window);
        let device = Device::flex();
        let step = MeasuredStep::new(&config, rows, window, Division::Threads, &device).unwrap();
        step.in_precision(precision).unwrap()
    };
    let mut steps: Vec<MeasuredStep> = shape.precisions.iter().map(step).collect();
    let count = steps.len();
    let mut losses = vec![Vec::new(); count];
    let mut times = vec![Vec::new(); count];
    // The first round allocates the optimiser's state.
    for round in 0..=shape.rounds {
        for turn in 0..count {
            let number = (round + turn) % count;
            let start = Instant::now();
            losses[number].push(steps[number].run().unwrap());
            if round > 0 {
                times[number].push(start.elapsed().as_secs_f64());
            }
        }
    }
    for (number, precision) in shape.precisions.iter().enumerate() {
        let ratios = times[number]
            .iter()
            .zip(&times[0])
            .map(|(own, f32)| own / f32);
        let [low, middle, high] = quartiles(ratios.collect());
        println!(
            "  {:5} {:8.1} ms, {middle:.3} [{low:.3}, {high:.3}] of f32, loss {:.4} to {:.4}",
            precision.name(),
            1e3 * quartiles(times[number].clone())[1],
            losses[number][0],
            losses[number][shape.rounds],
        );
    }
}

fn quartiles(mut numbers: Vec<f64>) -> [f64; 3] {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len() - 1;
    [last / 4, last / 2, (3 * last).div_ceil(4)].map(|at| numbers[at])
}
