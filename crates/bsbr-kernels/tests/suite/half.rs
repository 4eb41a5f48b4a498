//! Forward passes in half precision against those of the same numbers in single, where a device
//! computes in it. Matrix units are tested here where a device has some.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, cases, devices, tensor};
use bsbr_kernels::{
    BlockAttention, BlockStates, add_bias_gelu, block_attention, causal_attention,
    causal_attention_packed, gelu_new, layer_norm,
};
use burn::tensor::{DType, Device, Tensor};

/// Devices and the half types that they compute in.
fn half_types() -> Vec<(Device, DType)> {
    let mut all = Vec::new();
    for device in devices() {
        let device = device.inner();
        for dtype in [DType::F16, DType::BF16] {
            if device.supports_dtype(dtype) {
                all.push((device.clone(), dtype));
            }
        }
    }
    all
}

/// Rounding of results and, of attention, of weights.
fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => 5e-3,
        _ => 4e-2,
    }
}

/// Compares what `op` makes of `inputs` in `dtype` and of the same numbers in single precision.
#[track_caller]
fn check<const R: usize, const N: usize>(
    op: impl Fn([Tensor<R>; N]) -> Tensor<R>,
    inputs: [Tensor<R>; N],
    dtype: DType,
    what: &str,
) {
    let half = inputs.map(|x| x.cast(dtype));
    let single = half.clone().map(|x| x.cast(DType::F32));
    let found = op(half);
    assert_eq!(found.dtype(), dtype, "{what}");
    assert_close(found.cast(DType::F32), op(single), tolerance(dtype), what);
}

#[test]
fn elementwise_operations() {
    for (device, dtype) in half_types() {
        for shape in cases(2, [[3, 5], [65, 769], [1, 1], [2, 3072]]) {
            let x = || tensor(shape, 1, 3.0, &device);
            let row = |seed| tensor::<2>([1, shape[1]], seed, 1.0, &device);
            check(|[x]| gelu_new(x), [x()], dtype, "GELU");
            let activate = |[x, b]: [Tensor<2>; 2]| add_bias_gelu(x, b.squeeze_dim(0));
            check(activate, [x(), row(2)], dtype, "bias and GELU");
            let normalise = |[x, gamma, beta]: [Tensor<2>; 3]| {
                layer_norm(x, gamma.squeeze_dim(0), beta.squeeze_dim(0), 1e-5)
            };
            check(normalise, [x(), row(3), row(4)], dtype, "layer norm");
        }
    }
}

#[test]
fn dense_attention() {
    for (device, dtype) in half_types() {
        for (n, d) in cases(2, [(65, 64), (129, 20), (1, 64), (63, 64), (130, 64)]) {
            let inputs = [1, 2, 3].map(|seed| tensor([3, 2, n, d], seed, 1.0, &device));
            let scale = 1.0 / (d as f64).sqrt();
            let attend = |[q, k, v]: [Tensor<4>; 3]| causal_attention(q, k, v, scale);
            check(attend, inputs, dtype, &format!("{n} tokens of {d}"));

            let packed = tensor([2, n, 3 * 2 * d], 4, 1.0, &device);
            let attend = |[qkv]: [Tensor<3>; 1]| causal_attention_packed(qkv, 2, scale);
            check(
                attend,
                [packed],
                dtype,
                &format!("{n} packed tokens of {d}"),
            );
        }
    }
}

#[test]
fn block_attention_of_views() {
    let settings = BlockAttention {
        sinks: 3,
        chunk_size: 24,
        near_chunks: 1,
        clusters: 4,
        exact_clusters: 0,
    };
    for (device, dtype) in half_types() {
        for (n, d) in cases(2, [(76, 64), (100, 20), (1, 64), (75, 64), (203, 64)]) {
            // Heads beside each other, as projections give them.
            let packed = tensor::<4>([2, n, 3 * 2, d], 7, 1.0, &device).swap_dims(1, 2);
            let scale = 1.0 / (d as f64).sqrt();
            for states in [BlockStates::Off, BlockStates::Whole] {
                let attend = |[packed]: [Tensor<4>; 1]| {
                    let [q, k, v] = [0, 1, 2].map(|part| packed.clone().narrow(1, part * 2, 2));
                    block_attention(q, k, v, states.clone(), settings, scale)
                };
                check(
                    attend,
                    [packed.clone()],
                    dtype,
                    &format!("{n} tokens of {d}"),
                );
            }
        }
    }
}
