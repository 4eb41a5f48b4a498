//! The products composed of a backend's own operations.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::FloatDType;

/// x in bf16.
pub(super) fn rounded<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_cast(x, FloatDType::BF16)
}

/// The product of two matrices rounded to bf16, in f32.
pub(super) fn product<B: Backend>(x: FloatTensor<B>, y: FloatTensor<B>) -> FloatTensor<B> {
    let [x, y] = [x, y].map(|x| B::float_cast(rounded::<B>(x), FloatDType::F32));
    B::float_matmul(x, y)
}
