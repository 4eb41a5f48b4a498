//! The passes composed of a backend's own operations, for any backend.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{IndexingUpdateOp, Shape};

/// Weighted sum of the losses `[1]`, and log-sum-exp of the rows `[R]`.
pub(crate) fn forward<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    weights: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let rows = logits.shape()[0];
    let column = Shape::from([rows, 1]);
    let max = B::float_detach(B::float_max_dim(logits.clone(), 1));
    let exp = B::float_exp(B::float_sub(logits.clone(), max.clone()));
    let lse = B::float_add(B::float_log(B::float_sum_dim(exp, 1)), max);
    let chosen = B::float_gather(1, logits, B::int_reshape(targets, column.clone()));
    let losses = B::float_mul(
        B::float_sub(lse.clone(), chosen),
        B::float_reshape(weights.clone(), column),
    );
    let losses = without_weightless::<B>(losses, weights);
    (
        B::float_sum(losses),
        B::float_reshape(lse, Shape::from([rows])),
    )
}

/// Gradient of the logits from the inputs and outputs of [`forward`].
pub(crate) fn backward<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    weights: FloatTensor<B>,
    lse: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let column = Shape::from([logits.shape()[0], 1]);
    let [weights, lse] = [weights, lse].map(|x| B::float_reshape(x, column.clone()));
    let weights = B::float_mul(weights, B::float_reshape(grad, Shape::from([1, 1])));
    let probs = B::float_exp(B::float_sub(logits, lse));
    let probs = B::float_mul(probs, weights.clone());
    let probs = without_weightless::<B>(probs, weights.clone());
    let targets = B::int_reshape(targets, column);
    B::float_scatter(
        1,
        probs,
        targets,
        B::float_neg(weights),
        IndexingUpdateOp::Add,
    )
}

/// Rows `[R, C]`, with zeros in rows of weight zero, for weights `[R]` or `[R, 1]`: the contents
/// of such rows do not count, even if they are infinite or NaN.
pub(crate) fn without_weightless<B: Backend>(
    rows: FloatTensor<B>,
    weights: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = rows.shape();
    if shape.num_elements() == 0 {
        return rows;
    }
    let dtype = get_or_init_device_settings::<B>(&rows.device()).bool_dtype;
    let weights = B::float_reshape(weights, Shape::from([shape[0], 1]));
    let weightless = B::float_equal_elem(weights, 0.0.into(), dtype);
    B::float_mask_fill(rows, weightless, 0.0.into())
}
