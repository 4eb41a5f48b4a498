//! Times every arm and its definition.
//!
//! `cargo bench --workspace --profile dev --bench arms [-- FILTER]`

use bsbr_attention::{Attention, AttentionInput, HeadShape, Padding, reference};
use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;

const ARMS: [&str; 6] = [
    "dense",
    "local",
    "published",
    "moments:exact_clusters=0,kv_bits=32,state=true",
    "moments:exact_clusters=0,kv_bits=32",
    "moments:exact_clusters=8,kv_bits=32,state=true",
];

/// Tokens; the definitions go token by token, and take few of them.
const TOKENS: usize = 2048;
const FEW: usize = 384;

const SHAPE: HeadShape = HeadShape {
    num_heads: 4,
    head_dim: 64,
    hidden_size: 256,
};

fn main() {
    divan::main();
}

fn attention(name: &str, device: &Device) -> Option<Attention> {
    Attention::new(name.parse().ok()?, SHAPE, device).ok()
}

fn input(tokens: usize, device: &Device) -> AttentionInput {
    let normal = Distribution::Normal(0.0, 1.0);
    // Laid out as the projections of a model leave it.
    let random = || {
        let rows = [1, tokens, SHAPE.num_heads, SHAPE.head_dim];
        Tensor::<4>::random(rows, normal, device).swap_dims(1, 2)
    };
    AttentionInput {
        query: random(),
        key: random(),
        value: random(),
        hidden_states: Tensor::random([1, tokens, SHAPE.hidden_size], normal, device),
        scale: 0.125,
        padding: Padding::none(),
    }
}

#[divan::bench(args = ARMS)]
fn fast(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, TOKENS, |attention, input| {
        attention.forward(input)
    });
}

#[divan::bench(args = ARMS)]
fn fast_on_few(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, FEW, |attention, input| {
        attention.forward(input)
    });
}

#[divan::bench(args = ARMS)]
fn definition_on_few(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, FEW, reference::forward);
}

fn run(
    bencher: Bencher<'_, '_>,
    name: &str,
    tokens: usize,
    forward: impl Fn(&Attention, AttentionInput) -> Tensor<4>,
) {
    let device = Device::default();
    let input = input(tokens, &device);
    if let Some(attention) = attention(name, &device) {
        bencher.bench_local(|| forward(&attention, input.clone()));
    }
}
