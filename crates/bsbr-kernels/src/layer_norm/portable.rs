//! The passes composed of a backend's own operations, for any backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

use crate::half::{back, single};

/// Normalised x by Burn's own operation; half precision is computed in single
/// precision.
pub(super) fn forward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let dtype = x.dtype();
    // In f16 the square of an outlier is infinite.
    let [x, gamma, beta] = [x, gamma, beta].map(single::<B>);
    let last = x.shape().num_dims() - 1;
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x.clone(), last));
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred), last);
    // 0, or NaN if the variance is infinite; otherwise only beta would remain.
    let poison = B::float_mul_scalar(variance, 0.0.into());
    let out = B::layer_norm(x, gamma, Some(beta), epsilon);
    back::<B>(B::float_add(out, poison), dtype)
}

/// Gradients of x, gamma and beta from that of the output.
pub(super) fn backward<B: Backend>(
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    grad: FloatTensor<B>,
    epsilon: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, features) = (x.shape(), gamma.shape());
    let [of_x, of_gamma] = [x.dtype(), gamma.dtype()];
    // In f16 the square of an outlier is infinite.
    let [x, gamma, grad] = [x, gamma, grad].map(single::<B>);
    let c = features[0];
    let rows = Shape::from([shape.num_elements() / c.max(1), c]);
    let [x, grad] = [x, grad].map(|t| B::float_reshape(t, rows.clone()));
    let gamma = B::float_reshape(gamma, Shape::from([1, c]));

    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, 1));
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), 1);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, epsilon.into()));
    let normal = B::float_div(centred, deviation.clone());

    let scaled = B::float_mul(grad.clone(), gamma);
    let mean = B::float_mean_dim(scaled.clone(), 1);
    let slope = B::float_mean_dim(B::float_mul(scaled.clone(), normal.clone()), 1);
    let along = B::float_mul(normal.clone(), slope);
    let dx = B::float_div(B::float_sub(B::float_sub(scaled, mean), along), deviation);

    let dgamma = B::float_sum_dim(B::float_mul(grad.clone(), normal), 0);
    let dbeta = B::float_sum_dim(grad, 0);
    (
        back::<B>(B::float_reshape(dx, shape), of_x),
        back::<B>(B::float_reshape(dgamma, features.clone()), of_gamma),
        back::<B>(B::float_reshape(dbeta, features), of_gamma),
    )
}
