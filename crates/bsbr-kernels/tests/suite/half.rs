//! Outputs and gradients in half precision compared with those in single precision, on devices that
//! compute in half precision. This also tests matrix units, where a device has some.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{assert_close, cases, devices, tensor, values};
use bsbr_kernels::{
    BlockAttention, BlockStates, Grid, add_bias_gelu, block_attention, causal_attention,
    causal_attention_packed, gelu_new, gelu_new_plain, layer_norm, layer_norm_plain,
};
use burn::tensor::{DType, Device, Tensor, TensorData};

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

/// Gradients of `inputs` in `dtype` against those of the same numbers in single precision.
#[track_caller]
fn check_gradients<const R: usize, const N: usize>(
    op: impl Fn([Tensor<R>; N]) -> Tensor<R>,
    inputs: [Tensor<R>; N],
    dtype: DType,
    what: &str,
) {
    let gradients = |inputs: [Tensor<R>; N]| {
        let leaves = inputs.map(|x| x.detach().require_grad());
        let out = op(leaves.clone());
        // Larger than one, so that no gradient is as small as what is tolerated. The same numbers
        // in both types.
        let weight = tensor(out.dims(), 9, 30.0, &out.device());
        let weight = weight.cast(dtype).cast(out.dtype());
        let grads = (out * weight).sum().backward();
        leaves.map(|x| x.grad(&grads).unwrap())
    };
    let half = inputs.map(|x| x.cast(dtype));
    let single = half.clone().map(|x| x.cast(DType::F32));
    let pairs = gradients(half).into_iter().zip(gradients(single));
    for (number, (found, expected)) in pairs.enumerate() {
        assert_eq!(found.dtype(), dtype, "{what}");
        let what = format!("{what}: gradient of input {number}");
        let found = found.cast(DType::F32);
        assert_close(found, expected, tolerance(dtype), &what);
    }
}

/// Numbers of which two have squares beyond the range of f16.
fn with_outliers(shape: [usize; 2], device: &Device) -> Tensor<2> {
    let mut numbers = values(shape[0] * shape[1], 1, 3.0);
    numbers[5] = 300.0;
    numbers[27] = -300.0;
    Tensor::from_data(TensorData::new(numbers, shape), device)
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
        grid: Grid {
            sinks: 3,
            chunk_size: 24,
            near_chunks: 1,
        },
        clusters: 4,
        ..BlockAttention::default()
    };
    for (device, dtype) in half_types() {
        for (n, d) in cases(1, [(100, 20), (76, 64), (1, 64), (75, 64), (203, 64)]) {
            // Heads beside each other, as projections give them.
            let packed = tensor::<4>([2, n, 3 * 2, d], 7, 1.0, &device).swap_dims(1, 2);
            let scale = 1.0 / (d as f64).sqrt();
            let looks_up = BlockAttention {
                exact_clusters: 3,
                ..settings
            };
            for (states, settings) in [
                (BlockStates::Off, settings),
                (BlockStates::Whole, settings),
                (BlockStates::Whole, looks_up),
            ] {
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

#[test]
fn gradients_of_elementwise_operations() {
    for (device, dtype) in half_types() {
        let device = device.autodiff();
        let x = || with_outliers([3, 20], &device);
        let row = |seed| tensor::<2>([1, 20], seed, 1.0, &device);
        check_gradients(|[x]| gelu_new(x), [x()], dtype, "GELU");
        check_gradients(|[x]| gelu_new_plain(x), [x()], dtype, "plain GELU");
        let activate = |[x, b]: [Tensor<2>; 2]| add_bias_gelu(x, b.squeeze_dim(0));
        check_gradients(activate, [x(), row(2)], dtype, "bias and GELU");
        for op in [layer_norm::<2>, layer_norm_plain::<2>] {
            let normalise = |[x, gamma, beta]: [Tensor<2>; 3]| {
                op(x, gamma.squeeze_dim(0), beta.squeeze_dim(0), 1e-5)
            };
            let inputs = || [x(), row(3), row(4)];
            check(normalise, inputs(), dtype, "layer norm");
            check_gradients(normalise, inputs(), dtype, "layer norm");
        }
    }
}

#[test]
fn layer_norm_of_rows_too_wide_for_a_kernel() {
    for (device, dtype) in half_types() {
        let width = 64 * 128 + 3;
        let inputs = [
            with_outliers([2, width], &device),
            tensor([1, width], 3, 1.0, &device),
            tensor([1, width], 4, 1.0, &device),
        ];
        let normalise = |[x, gamma, beta]: [Tensor<2>; 3]| {
            layer_norm(x, gamma.squeeze_dim(0), beta.squeeze_dim(0), 1e-5)
        };
        check(normalise, inputs, dtype, "wide layer norm");
    }
}

#[test]
fn gradients_of_dense_attention() {
    let scale = 0.25;
    for (device, dtype) in half_types() {
        let device = device.autodiff();
        // Scores about zero, and far from it.
        for offset in [0.0, 2.0] {
            let input = |seed| tensor::<4>([1, 2, 20, 16], seed, 1.0, &device) + offset;
            let attend = |[q, k, v]: [Tensor<4>; 3]| causal_attention(q, k, v, scale);
            let what = format!("scores around {offset}");
            check_gradients(attend, [input(1), input(2), input(3)], dtype, &what);

            let packed = tensor::<3>([1, 20, 3 * 2 * 16], 4, 1.0, &device) + offset;
            let attend = |[qkv]: [Tensor<3>; 1]| causal_attention_packed(qkv, 2, scale);
            check_gradients(attend, [packed], dtype, &format!("packed, {what}"));
        }
    }
}

#[test]
fn gradients_of_block_attention() {
    let settings = BlockAttention {
        grid: Grid {
            sinks: 3,
            chunk_size: 8,
            near_chunks: 1,
        },
        clusters: 2,
        ..BlockAttention::default()
    };
    for (device, dtype) in half_types() {
        let device = device.autodiff();
        let looks_up = BlockAttention {
            exact_clusters: 1,
            ..settings
        };
        for (states, settings) in [
            (BlockStates::Off, settings),
            (BlockStates::Whole, settings),
            (BlockStates::Whole, looks_up),
        ] {
            let inputs = [1, 2, 3].map(|seed| tensor([1, 2, 30, 8], seed, 1.0, &device));
            let attend = |[q, k, v]: [Tensor<4>; 3]| {
                block_attention(q, k, v, states.clone(), settings, 0.35)
            };
            check_gradients(attend, inputs, dtype, &format!("{states:?}"));
        }
    }
}
