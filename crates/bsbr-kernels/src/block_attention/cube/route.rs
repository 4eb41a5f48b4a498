//! The states that chunks read, mixed by products of Burn's.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{FloatDType, IntDType, Shape, Slice};

use super::super::{BlockAttention, portable};

/// What each chunk with a far field reads, from the mean keys `[B, H, F, D]` and the
/// states `[B, H, F, D, D]` of far chunks. `[B, H, F, D, D]`
pub(super) fn mix(
    q: FloatTensor<Cube>,
    means: FloatTensor<Cube>,
    states: FloatTensor<Cube>,
    settings: &BlockAttention,
    scale: f64,
) -> FloatTensor<Cube> {
    let shape = states.shape();
    let [b, h, far, d] = [shape[0], shape[1], shape[2], shape[3]];
    // As many chunks have a far field as there are far chunks: each is the last of one.
    let size = settings.chunk_size;
    let first = settings.start_of(settings.near_chunks + 1) - 1;
    let last = first + (far - 1) * size;
    let all = |size: usize| Slice::from(0..size);
    let every = Slice::new(first as isize, Some(last as isize + 1), size as isize);
    let receivers = Cube::float_slice(q, &[all(b), all(h), every, all(d)]);
    let receivers = Cube::float_cast(receivers, FloatDType::F32);
    let receivers = Cube::float_mul_scalar(receivers, scale.into());
    let scores = Cube::float_matmul(receivers, Cube::float_swap_dims(means, 2, 3));
    let hidden = hidden(far, &scores);
    let (weights, _) = portable::softmax::<Cube>(Cube::float_add(scores, hidden));
    let flat = Cube::float_reshape(states, Shape::from([b, h, far, d * d]));
    let mixed = Cube::float_matmul(weights, flat);
    Cube::float_reshape(mixed, Shape::from([b, h, far, d, d]))
}

/// 0 up to the diagonal, and behind it what hides a score. `[1, 1, far, far]`
fn hidden(far: usize, like: &FloatTensor<Cube>) -> FloatTensor<Cube> {
    let numbers = Cube::int_arange(0..far as i64, &like.device(), IntDType::I32);
    let numbers = Cube::int_into_float(numbers, FloatDType::F32);
    let along = |shape: [usize; 4]| Cube::float_reshape(numbers.clone(), Shape::from(shape));
    let before = Cube::float_sub(along([1, 1, far, 1]), along([1, 1, 1, far]));
    let before = Cube::float_clamp(before, (-1.0).into(), (0.0).into());
    Cube::float_mul_scalar(before, f64::from(-portable::HIDDEN).into())
}
