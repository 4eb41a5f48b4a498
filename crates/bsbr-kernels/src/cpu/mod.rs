//! Building blocks of the fused CPU kernels: block matrix products, vector
//! loops, and views of [`FlexTensor`](burn::backend::flex::FlexTensor)s.

pub(crate) mod math;
pub(crate) mod matrix;
pub(crate) mod tensor;
