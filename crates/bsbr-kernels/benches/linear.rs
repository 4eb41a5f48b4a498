//! Times a linear layer of GPT-2's shape, plain and packed for products in each type, and in
//! training, with the gradients of inputs and weights.
//!
//! `cargo bench --workspace --profile dev --bench linear`. Several layers take turns, as in a
//! model, so that their weights are read from memory.
#![allow(clippy::unwrap_used)] // a benchmark fails by panicking

use std::cell::Cell;

use bsbr_kernels::{
    Bf16Weight, PackedActivation, PackedLinear, ProductType, WeightLayout, add_bias, bf16_matmul,
    mixed_matmul, packed_linear,
};
use burn::tensor::{Device, Distribution, Tensor};
use divan::Bencher;

const INPUTS: usize = 768;
const OUTPUTS: usize = 3072;
const LAYERS: usize = 16;
const ROWS: [usize; 5] = [1, 8, 128, 512, 1024];
const TRAINED: [usize; 3] = [128, 512, 2048];

fn main() {
    divan::main();
}

fn weights() -> Vec<Tensor<2>> {
    (0..LAYERS).map(|_| random([INPUTS, OUTPUTS])).collect()
}

fn random<const R: usize>(shape: [usize; R]) -> Tensor<R> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.5), &Device::flex())
}

/// Calls `layer` with the number of each layer in turn.
fn in_turn(bencher: Bencher<'_, '_>, layer: impl Fn(usize) -> Tensor<2>) {
    let turn = Cell::new(0);
    bencher.bench_local(|| {
        turn.set((turn.get() + 1) % LAYERS);
        layer(turn.get())
    });
}

#[divan::bench(args = ROWS)]
fn as_stored(bencher: Bencher<'_, '_>, rows: usize) {
    let (weights, bias) = (weights(), random([OUTPUTS]));
    let x = random([rows, INPUTS]);
    in_turn(bencher, |turn| {
        add_bias(mixed_matmul(x.clone(), weights[turn].clone()), bias.clone())
    });
}

fn packed(bencher: Bencher<'_, '_>, rows: usize, products: ProductType) {
    let bias = random([OUTPUTS]);
    let pack = |weight| PackedLinear::new(&weight, Some(&bias), WeightLayout::InOut, products);
    // Nothing is timed where the processor has no such products.
    let Some(layers) = weights().into_iter().map(pack).collect::<Option<Vec<_>>>() else {
        return;
    };
    let x = random([rows, INPUTS]);
    in_turn(bencher, |turn| {
        packed_linear(x.clone(), &layers[turn], PackedActivation::Identity)
    });
}

#[divan::bench(args = ROWS)]
fn packed_f32(bencher: Bencher<'_, '_>, rows: usize) {
    packed(bencher, rows, ProductType::F32);
}

#[divan::bench(args = ROWS)]
fn packed_bf16(bencher: Bencher<'_, '_>, rows: usize) {
    packed(bencher, rows, ProductType::Bf16);
}

#[divan::bench(args = ROWS)]
fn packed_int8(bencher: Bencher<'_, '_>, rows: usize) {
    packed(bencher, rows, ProductType::Int8);
}

#[divan::bench(args = ROWS)]
fn packed_int4(bencher: Bencher<'_, '_>, rows: usize) {
    packed(bencher, rows, ProductType::Int4);
}

/// Both passes of `product` with each weight in turn.
fn trained(
    bencher: Bencher<'_, '_>,
    rows: usize,
    product: impl Fn(Tensor<2>, Tensor<2>, usize) -> Tensor<2>,
) {
    let device = Device::flex().autodiff();
    let on_tape = |x: Tensor<2>| Tensor::from_data(x.into_data(), &device).require_grad();
    let weights: Vec<Tensor<2>> = weights().into_iter().map(on_tape).collect();
    let x = on_tape(random([rows, INPUTS]));
    in_turn(bencher, |turn| {
        let grads = product(x.clone(), weights[turn].clone(), turn).backward();
        x.grad(&grads).unwrap()
    });
}

#[divan::bench(args = TRAINED)]
fn trained_f32(bencher: Bencher<'_, '_>, rows: usize) {
    trained(bencher, rows, |x, weight, _| mixed_matmul(x, weight));
}

#[divan::bench(args = TRAINED)]
fn trained_bf16(bencher: Bencher<'_, '_>, rows: usize) {
    let packed: Vec<Bf16Weight> = weights().iter().map(Bf16Weight::new).collect();
    trained(bencher, rows, |x, weight, turn| {
        bf16_matmul(x, weight, &packed[turn])
    });
}

/// Packing a weight for a training step.
#[divan::bench]
fn pack_for_training(bencher: Bencher<'_, '_>) {
    let weights = weights();
    let turn = Cell::new(0);
    bencher.bench_local(|| {
        turn.set((turn.get() + 1) % LAYERS);
        Bf16Weight::new(&weights[turn.get()])
    });
}
