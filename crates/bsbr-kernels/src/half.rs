//! Half precision: such passes compute in single precision, because squares would overflow and
//! differences would lose precision.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, Tensor};

/// Whether numbers are in half precision.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Half precision converted to single precision; other types unchanged.
pub(crate) fn single<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    match is_half(x.dtype()) {
        true => B::float_cast(x, FloatDType::F32),
        false => x,
    }
}

/// Converts back from [`single`] to the original type.
pub(crate) fn back<B: Backend>(x: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    match is_half(dtype) {
        true => B::float_cast(x, FloatDType::from(dtype)),
        false => x,
    }
}

/// [`single`] for the plain forms, which convert back by a cast.
pub(crate) fn single_plain<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    match is_half(x.dtype()) {
        true => x.cast(DType::F32),
        false => x,
    }
}
