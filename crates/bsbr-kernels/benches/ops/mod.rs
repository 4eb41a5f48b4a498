//! Every operation on random inputs, fused and plain, for the benchmarks.
#![allow(clippy::unwrap_used)] // a benchmark fails by panicking

use bsbr_kernels as kernels;
use burn::tensor::{DType, Device, Distribution, Int, Tensor};

/// The plain form of an operation, or the fused one.
macro_rules! pick {
    ($plain:expr, $fused:path, $composed:path $(,)?) => {
        match $plain {
            true => $composed,
            false => $fused,
        }
    };
}

/// The names of the operations; `+ gradient` is both passes.
pub const NAMES: [&str; 17] = [
    "gelu",
    "gelu + gradient",
    "layer norm",
    "layer norm + gradient",
    "attention",
    "attention + gradient",
    "packed attention",
    "packed attention + gradient",
    "block attention",
    "block attention + gradient",
    "cross-entropy",
    "cross-entropy + gradient",
    "linear cross-entropy",
    "linear cross-entropy + gradient",
    "mixed product",
    "mixed product, one row",
    "clusters",
];

/// An operation, ready to be run.
pub type Run = Box<dyn Fn()>;

/// Sizes of inputs: tokens of 4 heads of 64 dimensions.
#[derive(Clone, Copy)]
pub struct Size {
    /// Tokens.
    pub tokens: usize,
    /// Classes of the cross-entropies.
    pub classes: usize,
}

const HEADS: usize = 4;
const HEAD: usize = 64;
const WIDTH: usize = HEADS * HEAD;

/// The operation of that name, fused or plain; clusters have one form.
pub fn make(name: &str, plain: bool, size: Size) -> Run {
    let (name, gradient) = match name.strip_suffix(" + gradient") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let device = match gradient {
        true => Device::flex().autodiff(),
        false => Device::flex(),
    };
    let Size { tokens, classes } = size;
    match name {
        "gelu" => {
            let op = pick!(plain, kernels::gelu_new, kernels::gelu_new_plain);
            let x = random([tokens, 4 * WIDTH], &device);
            run([x], gradient, move |[x]| op(x))
        }
        "layer norm" => {
            let op = pick!(plain, kernels::layer_norm, kernels::layer_norm_plain);
            let ones = Tensor::ones([WIDTH], &device);
            let x = random([tokens, WIDTH], &device);
            run([x], gradient, move |[x]: [Tensor<2>; 1]| {
                op(x, ones.clone(), ones.clone(), 1e-5)
            })
        }
        "attention" => {
            let op = pick!(
                plain,
                kernels::causal_attention,
                kernels::causal_attention_plain,
            );
            run(heads(tokens, &device), gradient, move |[q, k, v]| {
                op(q, k, v, 0.125)
            })
        }
        "packed attention" => {
            let op = pick!(
                plain,
                kernels::causal_attention_packed,
                kernels::causal_attention_packed_plain,
            );
            let qkv = random([1, tokens, 3 * WIDTH], &device);
            run([qkv], gradient, move |[qkv]| op(qkv, HEADS, 0.125))
        }
        "block attention" => {
            let op = pick!(
                plain,
                kernels::block_attention,
                kernels::block_attention_plain,
            );
            let settings = kernels::BlockAttention {
                grid: kernels::Grid::default(),
                clusters: 8,
                exact_clusters: 0,
                kv_bits: kernels::KvBits::ThirtyTwo,
                levels: kernels::HeadLevels::LOOKUPS,
                spans: kernels::Spans::NONE,
            };
            run(heads(tokens, &device), gradient, move |[q, k, v]| {
                op(q, k, v, kernels::BlockStates::Whole, settings, 0.125)
            })
        }
        "cross-entropy" => {
            let op = pick!(plain, kernels::cross_entropy, kernels::cross_entropy_plain);
            let (targets, weights) = targets(tokens, classes, &device);
            run([random([tokens, classes], &device)], gradient, {
                move |[logits]| op(logits, targets.clone(), weights.clone())
            })
        }
        "linear cross-entropy" => {
            let op = pick!(
                plain,
                kernels::linear_cross_entropy,
                kernels::linear_cross_entropy_plain,
            );
            let (targets, weights) = targets(tokens, classes, &device);
            let hidden = random([tokens, WIDTH], &device);
            let table = random([classes, WIDTH], &device) * 0.05;
            run([hidden, table], gradient, move |[hidden, table]| {
                op(hidden, table, targets.clone(), weights.clone())
            })
        }
        "mixed product" | "mixed product, one row" => {
            let op = pick!(plain, kernels::mixed_matmul, kernels::mixed_matmul_plain);
            let rows = if name == "mixed product" { tokens } else { 1 };
            let weight = random([WIDTH, 4 * WIDTH], &device).cast(DType::BF16);
            run([random([rows, WIDTH], &device)], gradient, move |[x]| {
                op(x, weight.clone())
            })
        }
        _ => {
            let keys = random([tokens, HEAD], &device).into_data();
            let keys: Vec<f32> = keys.iter::<f32>().collect();
            Box::new(move || {
                let clusters = kernels::split_into_clusters(&keys, [128, HEAD], 8);
                std::hint::black_box(clusters);
            })
        }
    }
}

fn random<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn heads(tokens: usize, device: &Device) -> [Tensor<4>; 3] {
    [(); 3].map(|()| random([1, HEADS, tokens, HEAD], device))
}

fn targets(rows: usize, classes: usize, device: &Device) -> (Tensor<1, Int>, Tensor<1>) {
    let targets = Tensor::arange(0..rows as i64, device).remainder_scalar(classes as i64);
    (targets, Tensor::ones([rows], device))
}

/// One pass or both on the same inputs, again and again.
fn run<const R: usize, const Q: usize, const K: usize>(
    inputs: [Tensor<R>; K],
    gradient: bool,
    op: impl Fn([Tensor<R>; K]) -> Tensor<Q> + 'static,
) -> Run {
    Box::new(move || {
        if !gradient {
            std::hint::black_box(op(inputs.clone()));
            return;
        }
        let inputs = inputs.clone().map(|x| x.detach().require_grad());
        let grads = op(inputs.clone()).sum().backward();
        std::hint::black_box(inputs[0].grad(&grads).unwrap());
    })
}
