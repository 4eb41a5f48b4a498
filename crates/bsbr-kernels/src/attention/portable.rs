//! The passes composed of a backend's own operations, for any backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, TensorData};

use crate::half::{back, is_half, single};

/// Scores `[B, H, Nq, Nk]`, scaled, with `-inf` for keys after the query.
fn scores<B: Backend>(q: FloatTensor<B>, k: FloatTensor<B>, scale: f64) -> FloatTensor<B> {
    let (nq, nk) = (q.shape()[2], k.shape()[2]);
    let (device, dtype) = (q.device(), FloatDType::from(q.dtype()));
    let mut bias = vec![0.0_f32; nq * nk];
    for (i, row) in bias.chunks_exact_mut(nk.max(1)).enumerate() {
        row[nk - nq + i + 1..].fill(f32::NEG_INFINITY);
    }
    let bias = B::float_from_data(TensorData::new(bias, [1, 1, nq, nk]), &device);
    let scores = B::float_matmul(q, B::float_swap_dims(k, 2, 3));
    let scores = B::float_mul_scalar(scores, scale.into());
    B::float_add(scores, B::float_cast(bias, dtype))
}

/// Output `[B, H, Nq, D]` and log-sum-exp of the scores `[B, H, Nq]`.
pub(crate) fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let scores = scores::<B>(q, k, scale);
    let max = B::float_detach(B::float_max_dim(scores.clone(), 3));
    let exp = B::float_exp(B::float_sub(scores, max.clone()));
    let sum = B::float_sum_dim(exp.clone(), 3);
    let out = B::float_div(B::float_matmul(exp, v), sum.clone());
    let lse = B::float_add(B::float_log(sum), max);
    (
        out,
        B::float_reshape(lse, Shape::from([shape[0], shape[1], shape[2]])),
    )
}

/// Gradients of q, k and v from the inputs and outputs of a forward pass. Half precision is
/// computed in single precision.
pub(crate) fn backward<B: Backend>(
    inputs: [FloatTensor<B>; 3],
    out: FloatTensor<B>,
    lse: FloatTensor<B>,
    grad: FloatTensor<B>,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let dtype = inputs[0].dtype();
    if !is_half(dtype) {
        return in_own_type::<B>(inputs, Some(out), lse, grad, scale);
    }
    let [q, k, v] = inputs.map(single::<B>);
    let lse = match lse.dtype() {
        // From a kernel, which also computes in single precision.
        DType::F32 => lse,
        // The log-sum-exp of rounded scores: weights recomputed with it would not add up to 1.
        _ => forward::<B>(q.clone(), k.clone(), v.clone(), scale).1,
    };
    // The output was rounded, and so would be the difference computed from it.
    let (dq, dk, dv) = in_own_type::<B>([q, k, v], None, lse, single::<B>(grad), scale);
    (
        back::<B>(dq, dtype),
        back::<B>(dk, dtype),
        back::<B>(dv, dtype),
    )
}

/// The same in the type of the inputs; without the output, it is recomputed where needed.
fn in_own_type<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    out: Option<FloatTensor<B>>,
    lse: FloatTensor<B>,
    grad: FloatTensor<B>,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let lse = B::float_reshape(lse, Shape::from([shape[0], shape[1], shape[2], 1]));
    // No weight is above 1, although a kernel may have rounded large scores differently.
    let log = B::float_sub(scores::<B>(q.clone(), k.clone(), scale), lse);
    let p = B::float_exp(B::float_clamp_max(log, 0.0.into()));
    let dv = B::float_matmul(B::float_swap_dims(p.clone(), 2, 3), grad.clone());
    let dp = B::float_matmul(grad.clone(), B::float_swap_dims(v, 2, 3));
    // Σ p·dp over keys is Σ out·grad over dimensions.
    let delta = match out {
        Some(out) => B::float_mul(out, grad),
        None => B::float_mul(p.clone(), dp.clone()),
    };
    let delta = B::float_sum_dim(delta, 3);
    let ds = B::float_mul(p, B::float_sub(dp, delta));
    let ds = B::float_mul_scalar(ds, scale.into());
    let dk = B::float_matmul(B::float_swap_dims(ds.clone(), 2, 3), q);
    (B::float_matmul(ds, k), dk, dv)
}
