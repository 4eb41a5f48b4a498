//! Times the fused operations against their plain forms.
//!
//! `cargo run -p bsbr-kernels --example bench_ops [-- filter]`
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program that prints a table

use std::time::Instant;

use bsbr_kernels as fused;
use burn::tensor::{Device, Distribution, Int, Tensor, module};

/// Median time of `f` in milliseconds, over at least `least` runs or a second.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 3 || (start.elapsed().as_secs_f64() < 1.0 && times.len() < 50) {
        let one = Instant::now();
        f();
        times.push(one.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn report(name: &str, plain: [f64; 2], fused: [f64; 2]) {
    println!(
        "{name:40} {:9.2} {:9.2} {:6.1}x   {:9.2} {:9.2} {:6.1}x",
        plain[0],
        fused[0],
        plain[0] / fused[0],
        plain[1],
        fused[1],
        plain[1] / fused[1]
    );
}

fn random<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Times of the forward pass alone, and of both passes.
fn times<const R: usize>(inputs: &[Tensor<R>], op: impl Fn(&[Tensor<R>]) -> Tensor<R>) -> [f64; 2] {
    let inner: Vec<_> = inputs.iter().map(|x| x.clone().inner()).collect();
    let forward = time(|| {
        op(&inner);
    });
    let both = time(|| {
        let inputs: Vec<_> = inputs
            .iter()
            .map(|x| x.clone().detach().require_grad())
            .collect();
        let out = op(&inputs);
        let grads = out.sum().backward();
        inputs[0].grad(&grads).unwrap();
    });
    [forward, both]
}

fn attention(device: &Device, n: usize, h: usize) {
    let inputs = [1, 2, 3].map(|_| random([1, h, n, 64], device));
    let plain = times(&inputs, |x| {
        fused::causal_attention_plain(x[0].clone(), x[1].clone(), x[2].clone(), 0.125)
    });
    let fused = times(&inputs, |x| {
        fused::causal_attention(x[0].clone(), x[1].clone(), x[2].clone(), 0.125)
    });
    report(&format!("attention 1x{h}x{n}x64"), plain, fused);
}

fn packed(device: &Device, n: usize, h: usize) {
    let inputs = [random([1, n, 3 * h * 64], device)];
    let plain = times(&inputs, |x| {
        fused::causal_attention_packed_plain(x[0].clone(), h, 0.125)
    });
    let fused = times(&inputs, |x| {
        fused::causal_attention_packed(x[0].clone(), h, 0.125)
    });
    report(&format!("packed attention 1x{n}x3x{h}x64"), plain, fused);
}

fn gelu(device: &Device, rows: usize, cols: usize) {
    let inputs = [random([rows, cols], device)];
    let plain = times(&inputs, |x| fused::gelu_new_plain(x[0].clone()));
    let fused = times(&inputs, |x| fused::gelu_new(x[0].clone()));
    report(&format!("gelu_new {rows}x{cols}"), plain, fused);
}

fn layer_norm(device: &Device, rows: usize, cols: usize) {
    let inputs = [
        random([rows, cols], device),
        random([1, cols], device),
        random([1, cols], device),
    ];
    let op = |op: fn(Tensor<2>, Tensor<1>, Tensor<1>, f64) -> Tensor<2>| {
        times(&inputs, move |x| {
            let (gamma, beta) = (x[1].clone().flatten(0, 1), x[2].clone().flatten(0, 1));
            op(x[0].clone(), gamma, beta, 1e-5)
        })
    };
    let burn = op(|x, gamma, beta, eps| module::layer_norm(x, gamma, Some(beta), eps));
    let fused = op(fused::layer_norm);
    report(
        &format!("layer_norm {rows}x{cols} (plain: Burn's)"),
        burn,
        fused,
    );
}

fn rows(rows: usize, classes: usize, device: &Device) -> (Tensor<1, Int>, Tensor<1>) {
    let targets = Tensor::arange(0..rows as i64, device).remainder_scalar(classes as i64);
    (targets, Tensor::ones([rows], device))
}

fn cross_entropy(device: &Device, count: usize, classes: usize) {
    let inputs = [random([count, classes], device)];
    let op = |op: fn(Tensor<2>, Tensor<1, Int>, Tensor<1>) -> Tensor<1>| {
        times(&inputs, move |x| {
            let (targets, weights) = rows(count, classes, &x[0].device());
            op(x[0].clone(), targets, weights).unsqueeze()
        })
    };
    let plain = op(fused::cross_entropy_plain);
    report(
        &format!("cross_entropy {count}x{classes}"),
        plain,
        op(fused::cross_entropy),
    );
}

fn linear_cross_entropy(device: &Device, count: usize, features: usize, classes: usize) {
    let inputs = [
        random([count, features], device),
        random([classes, features], device),
    ];
    let op = |op: fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, Tensor<1>) -> Tensor<1>| {
        times(&inputs, move |x| {
            let (targets, weights) = rows(count, classes, &x[0].device());
            op(x[0].clone(), x[1].clone() * 0.05, targets, weights).unsqueeze()
        })
    };
    let plain = op(fused::linear_cross_entropy_plain);
    let fused = op(fused::linear_cross_entropy);
    report(
        &format!("linear_cross_entropy {count}x{features}x{classes}"),
        plain,
        fused,
    );
}

/// Burn's own linear layer, for what its matrix products reach.
fn linear(device: &Device, rows: usize, input: usize, output: usize) {
    let inputs = [
        random([rows, input], device),
        random([input, output], device),
    ];
    let matmul = times(&inputs, |x| x[0].clone().matmul(x[1].clone()));
    let inputs = [
        random([rows, input], device),
        random([input, output], device),
        random([1, output], device),
    ];
    let linear = times(&inputs, |x| {
        module::linear(x[0].clone(), x[1].clone(), Some(x[2].clone().flatten(0, 1)))
    });
    report(
        &format!("Burn's matmul, linear {rows}x{input}x{output}"),
        matmul,
        linear,
    );
    let flop = 2.0 * (rows * input * output) as f64 * 1e-6;
    println!(
        "{:40} matmul {:.0} and {:.0} GFLOP/s, linear {:.0} and {:.0} GFLOP/s",
        "",
        flop / matmul[0],
        3.0 * flop / matmul[1],
        flop / linear[0],
        3.0 * flop / linear[1]
    );
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let wanted = |name: &str| name.starts_with(&filter);
    let device = Device::flex().autodiff();
    println!(
        "{:40} {:>27}   {:>27}",
        "milliseconds", "forward: plain fused ratio", "both: plain fused ratio"
    );
    if wanted("attention") {
        for n in [256, 1024, 2048, 4096] {
            attention(&device, n, 3);
        }
        attention(&device, 1024, 12);
    }
    if wanted("packed") {
        packed(&device, 1024, 3);
        packed(&device, 2048, 3);
        packed(&device, 1024, 12);
    }
    if wanted("gelu") {
        gelu(&device, 2048, 768);
        gelu(&device, 1024, 3072);
    }
    if wanted("layer") {
        layer_norm(&device, 2048, 192);
        layer_norm(&device, 1024, 768);
    }
    if wanted("cross") {
        cross_entropy(&device, 512, 50257);
    }
    if wanted("head") {
        linear_cross_entropy(&device, 1024, 192, 50257);
        linear_cross_entropy(&device, 512, 768, 50257);
    }
    if wanted("linear") {
        linear(&device, 2048, 192, 768);
        linear(&device, 2048, 768, 192);
        linear(&device, 1024, 768, 3072);
    }
}
