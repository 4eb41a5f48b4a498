//! The rates of this machine, measured in the rounds that they are compared with.

use std::time::Instant;

use bsbr_gpt2::Gpt2Config;
use burn::tensor::{Device, Distribution, Tensor};
use rayon::prelude::*;

use crate::rounds::{Contestant, Run, wait_for};

/// A matrix product of our backend.
pub const MATRIX: &str = "matrix";
/// The same in PyTorch.
pub const TORCH_MATRIX: &str = "torch-matrix";
/// A copy from memory to memory.
pub const COPY: &str = "copy";

/// Rows of the product: enough for the rate to be the machine's.
pub const ROWS: usize = 2048;
/// Numbers that are copied: eight times what caches of this decade hold.
const NUMBERS: usize = 64 << 20;
/// Numbers per task.
const CHUNK: usize = 1 << 20;

/// Operations of the product: hidden states times the first matrix of a feed-forward layer.
pub fn operations(config: &Gpt2Config) -> f64 {
    2.0 * (ROWS * config.n_embd * config.inner_size()) as f64
}

/// Bytes that a copy reads and writes.
pub fn bytes() -> f64 {
    2.0 * (NUMBERS * size_of::<f32>()) as f64
}

/// The product and the copy.
pub(super) fn contestants<'a>(config: &Gpt2Config, device: &Device) -> Vec<Contestant<'a>> {
    let normal = Distribution::Normal(0.0, 1.0);
    let lhs = Tensor::<2>::random([ROWS, config.n_embd], normal, device);
    let rhs = Tensor::<2>::random([config.n_embd, config.inner_size()], normal, device);
    let matrix: Run<'a> = Box::new(move || {
        let start = Instant::now();
        let out = lhs.clone().matmul(rhs.clone());
        wait_for(out.slice([ROWS - 1..ROWS, 0..1]));
        Ok(start.elapsed().as_secs_f64())
    });
    let buffers = std::cell::RefCell::new((vec![1.0f32; NUMBERS], vec![0.0f32; NUMBERS]));
    let copy: Run<'a> = Box::new(move || {
        let (from, to) = &mut *buffers.borrow_mut();
        let start = Instant::now();
        to.par_chunks_mut(CHUNK)
            .zip(from.par_chunks(CHUNK))
            .for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(to);
        Ok(start.elapsed().as_secs_f64())
    });
    [(MATRIX, matrix), (COPY, copy)]
        .map(|(id, run)| Contestant {
            id: id.to_owned(),
            run: Ok(run),
        })
        .into()
}
