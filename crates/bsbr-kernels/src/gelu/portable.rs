//! The passes composed of a backend's own operations, for any backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};

use super::{CUBIC, SQRT_2_OVER_PI};
use crate::half::{back, single};

/// tanh of √(2/π) (x + 0.044715 x³), and x².
fn tanh<B: Backend>(x: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let square = B::float_mul(x.clone(), x.clone());
    let poly = B::float_mul_scalar(square.clone(), CUBIC.into());
    let inner = B::float_mul(B::float_add_scalar(poly, 1.0.into()), x);
    (
        B::float_tanh(B::float_mul_scalar(inner, SQRT_2_OVER_PI.into())),
        square,
    )
}

/// GELU of every element.
pub(super) fn forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let (tanh, _) = tanh::<B>(x.clone());
    B::float_mul_scalar(
        B::float_mul(B::float_add_scalar(tanh, 1.0.into()), x),
        0.5.into(),
    )
}

/// Gradient of the input from that of the output.
pub(super) fn backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = x.dtype();
    // From 256 on, x² is infinite in f16, and zero times infinity is NaN.
    let [x, grad] = [x, grad].map(single::<B>);
    // 0.5 (1 + t) + 0.5 x (1 - t²) √(2/π) (1 + 3·0.044715 x²)
    let (t, square) = tanh::<B>(x.clone());
    let poly = B::float_mul_scalar(square, (3.0 * CUBIC).into());
    let slope = B::float_mul_scalar(B::float_add_scalar(poly, 1.0.into()), SQRT_2_OVER_PI.into());
    let rest = B::float_neg(B::float_mul(t.clone(), t.clone()));
    let rest = B::float_mul(B::float_add_scalar(rest, 1.0.into()), slope);
    let sum = B::float_add(B::float_add_scalar(t, 1.0.into()), B::float_mul(rest, x));
    let dx = B::float_mul_scalar(B::float_mul(sum, grad), 0.5.into());
    back::<B>(dx, dtype)
}
