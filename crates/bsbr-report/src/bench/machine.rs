//! The rates of this machine, measured in the rounds of the comparison.

use std::time::Instant;

use bsbr_gpt2::Gpt2;
use burn::tensor::{Device, Distribution, Tensor};
use rayon::prelude::*;

use crate::bench::derived::WORK;
use crate::bench::place::Place;
use crate::rounds::{Case, Timing, wait_for};

/// A matrix product of our backend.
pub const MATRIX: &str = "matrix";
/// The same in PyTorch.
pub const TORCH_MATRIX: &str = "torch-matrix";
/// A memory copy.
pub const COPY: &str = "copy";

/// Rows of the product: enough to reach the machine's rate.
const ROWS: usize = 2048;
/// The same for devices other than the CPU, which need more.
const MANY_ROWS: usize = 65_536;
/// Copied numbers: eight times the size of current caches.
const NUMBERS: usize = 64 << 20;
/// Numbers per task.
const CHUNK: usize = 1 << 20;

/// Rows of the product on a device.
pub fn rows(place: &Place) -> usize {
    match place.is_accelerator() {
        true => MANY_ROWS,
        false => ROWS,
    }
}

/// The product of hidden states and the first matrix of a feed-forward layer, the same by PyTorch if
/// it takes part, and the copy.
pub(super) fn cases<'a>(
    length: usize,
    model: &Gpt2,
    place: &Place,
    torch: Option<Timing<'a>>,
) -> Vec<Case<'a>> {
    let normal = Distribution::Normal(0.0, 1.0);
    let (rows, dtype) = (rows(place), place.dtype());
    let (config, device) = (model.config(), &model.device());
    let random = |shape| Tensor::<2>::random(shape, normal, device).cast(dtype);
    let lhs = random([rows, config.n_embd]);
    let rhs = random([config.n_embd, config.inner_size()]);
    let matrix: Timing<'a> = Box::new(move || {
        let start = Instant::now();
        let out = bsbr_kernels::mixed_matmul(lhs.clone(), rhs.clone());
        wait_for(out.slice([rows - 1..rows, 0..1]));
        Ok(start.elapsed().as_secs_f64())
    });
    let operations = 2.0 * (rows * config.n_embd * config.inner_size()) as f64;
    let mut all = vec![
        Case::timed(MATRIX, length, Ok(matrix)).with(WORK, operations),
        copy(length, device, place),
    ];
    all.extend(torch.map(|run| Case::timed(TORCH_MATRIX, length, Ok(run)).with(WORK, operations)));
    all
}

/// The copy.
pub(super) fn copy<'a>(length: usize, device: &Device, place: &Place) -> Case<'a> {
    let copy = match place.is_accelerator() {
        true => on_device(device),
        false => in_memory(),
    };
    // A copy reads and writes.
    let bytes = 2.0 * (NUMBERS * size_of::<f32>()) as f64;
    Case::timed(COPY, length, Ok(copy)).with(WORK, bytes)
}

/// A kernel that reads and writes every number once.
fn on_device<'a>(device: &Device) -> Timing<'a> {
    let numbers = Tensor::<1>::ones([NUMBERS], device);
    Box::new(move || {
        let start = Instant::now();
        let out = numbers.clone().mul_scalar(2.0);
        wait_for(out.narrow(0, NUMBERS - 1, 1));
        Ok(start.elapsed().as_secs_f64())
    })
}

/// A copy on all threads.
fn in_memory<'a>() -> Timing<'a> {
    let buffers = std::cell::RefCell::new((vec![1.0f32; NUMBERS], vec![0.0f32; NUMBERS]));
    Box::new(move || {
        let (from, to) = &mut *buffers.borrow_mut();
        let start = Instant::now();
        to.par_chunks_mut(CHUNK)
            .zip(from.par_chunks(CHUNK))
            .for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(to);
        Ok(start.elapsed().as_secs_f64())
    })
}
