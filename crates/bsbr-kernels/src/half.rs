//! Half precision: passes in it are computed in single precision, where squares would overflow or
//! differences would lose their digits.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, Tensor};

/// Whether numbers are in half precision.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Numbers in half precision in single precision, and others as they are.
pub(crate) fn single<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    match is_half(x.dtype()) {
        true => B::float_cast(x, FloatDType::F32),
        false => x,
    }
}

/// The way back from [`single`] to the type that numbers had.
pub(crate) fn back<B: Backend>(x: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    match is_half(dtype) {
        true => B::float_cast(x, FloatDType::from(dtype)),
        false => x,
    }
}

/// [`single`] for the plain forms; their way back is a cast.
pub(crate) fn single_plain<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    match is_half(x.dtype()) {
        true => x.cast(DType::F32),
        false => x,
    }
}
