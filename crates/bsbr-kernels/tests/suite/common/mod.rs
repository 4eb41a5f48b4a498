//! Inputs and comparisons shared by the tests.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use bsbr_kernels::{BlockAttention, Spans, fuses_block_attention};
use burn::tensor::{Device, Tensor, TensorData};

/// The devices to test on, with autodiff: the one that `BURN_DEVICE` names, or the default.
pub fn devices() -> Vec<Device> {
    vec![Device::default().autodiff()]
}

/// A test's cases, of which it tries the first `few` where another device than the default is asked
/// for. There every shape is a shader to compile, by a build without optimisation.
pub fn cases<T>(few: usize, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    all.into_iter()
        .take(if tests_another() { few } else { usize::MAX })
}

/// Whether another device than the default is asked for: a run that tests Flex alone once more only
/// takes time.
pub fn tests_another() -> bool {
    std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex")
}

/// Asserts that GPUs have kernels for block attention without spans, so that nothing is compared
/// with itself.
#[track_caller]
pub fn assert_fused(x: &Tensor<4>, settings: &BlockAttention) {
    if is_gpu() && settings.spans == Spans::NONE {
        let shape = x.dims();
        assert!(fuses_block_attention(x, settings), "{shape:?} {settings:?}");
    }
}

/// Whether the device that is asked for is a GPU.
pub fn is_gpu() -> bool {
    matches!(std::env::var("BURN_DEVICE").as_deref(), Ok("wgpu" | "cuda"))
}

/// Values spread over [-scale, scale], the same on every run.
pub fn values(len: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

pub fn tensor<const R: usize>(
    shape: [usize; R],
    seed: u64,
    scale: f32,
    device: &Device,
) -> Tensor<R> {
    let len = shape.iter().product();
    Tensor::from_data(TensorData::new(values(len, seed, scale), shape), device)
}

pub fn vec<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

/// Asserts that two tensors agree to `tol` times the largest element of `expected` (or one).
#[track_caller]
pub fn assert_close<const R: usize>(actual: Tensor<R>, expected: Tensor<R>, tol: f32, what: &str) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let (actual, expected) = (vec(actual), vec(expected));
    let largest = expected.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
    for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
        assert!(
            (a - e).abs() <= tol * largest,
            "{what}: element {i}: {a} for {e}"
        );
    }
}

/// Asserts that a run gives the same bits on any number of threads of the default device.
#[cfg(feature = "flex")]
#[track_caller]
pub fn assert_same_on_threads<const R: usize>(run: impl Fn() -> Vec<Tensor<R>> + Sync) {
    if tests_another() {
        return;
    }
    let [one, two, seven] = [1, 2, 7].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(&run)
    });
    assert_same(one.clone(), two);
    assert_same(one, seven);
}

/// Asserts that two lists of tensors agree bit for bit.
#[track_caller]
pub fn assert_same<const R: usize>(
    a: impl IntoIterator<Item = Tensor<R>>,
    b: impl IntoIterator<Item = Tensor<R>>,
) {
    let bits = |x: Tensor<R>| vec(x).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let [a, b] = [
        a.into_iter().map(bits).collect::<Vec<_>>(),
        b.into_iter().map(bits).collect(),
    ];
    assert!(a == b, "not the same bits");
}
