//! The passes composed of a backend's own operations, for any backend.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
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
        B::float_reshape(weights, column),
    );
    (
        B::float_sum(losses),
        B::float_reshape(lse, Shape::from([rows])),
    )
}

/// Gradient of the logits from what [`forward`] saw and gave.
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
    let targets = B::int_reshape(targets, column);
    B::float_scatter(
        1,
        probs,
        targets,
        B::float_neg(weights),
        IndexingUpdateOp::Add,
    )
}
