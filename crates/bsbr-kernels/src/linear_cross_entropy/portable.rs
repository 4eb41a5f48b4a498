//! The loss chunk by chunk of rows, composed of a backend's own operations.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{FloatDType, Shape, Slice};

use super::CHUNK;
use crate::cross_entropy::{CrossEntropyOps, without_weightless};

/// One chunk of rows: hidden, with zeros in rows of weight zero, targets and weights.
type Chunk<B> = (FloatTensor<B>, IntTensor<B>, FloatTensor<B>);

/// The chunks of the rows; one empty chunk if there are none.
fn chunks<B: CrossEntropyOps>(
    hidden: FloatTensor<B>,
    targets: IntTensor<B>,
    weights: FloatTensor<B>,
) -> impl Iterator<Item = Chunk<B>> {
    let (rows, features) = (hidden.shape()[0], hidden.shape()[1]);
    (0..rows.max(1)).step_by(CHUNK).map(move |start| {
        let rows = Slice::from(start..rows.min(start + CHUNK));
        let hidden = B::float_slice(hidden.clone(), &[rows, Slice::from(0..features)]);
        let weights = B::float_slice(weights.clone(), &[rows]);
        (
            // The gradient of the head reads all rows.
            without_weightless::<B>(hidden, weights.clone()),
            B::int_slice(targets.clone(), &[rows]),
            weights,
        )
    })
}

/// Weighted sum of the losses.
pub(super) fn loss<B: CrossEntropyOps>(
    hidden: FloatTensor<B>,
    head: FloatTensor<B>,
    targets: IntTensor<B>,
    weights: FloatTensor<B>,
) -> FloatTensor<B> {
    let (device, dtype) = (hidden.device(), FloatDType::from(hidden.dtype()));
    let head = B::float_swap_dims(head, 0, 1);
    let zero = B::float_zeros(Shape::from([1]), &device, dtype);
    chunks::<B>(hidden, targets, weights).fold(zero, |loss, (hidden, targets, weights)| {
        let logits = B::float_matmul(hidden, head.clone());
        B::float_add(loss, B::cross_entropy(logits, targets, weights))
    })
}

/// Weighted sum of the losses, and its gradients with respect to hidden and head.
pub(super) fn with_grads<B: CrossEntropyOps>(
    hidden: FloatTensor<B>,
    head: FloatTensor<B>,
    targets: IntTensor<B>,
    weights: FloatTensor<B>,
    head_grad: bool,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (device, dtype) = (hidden.device(), FloatDType::from(hidden.dtype()));
    let mut dhead_shape = head.shape();
    if !head_grad {
        dhead_shape[0] = 0;
    }
    let one = B::float_ones(Shape::from([1]), &device, dtype);
    let mut loss = B::float_zeros(Shape::from([1]), &device, dtype);
    let mut dhead = B::float_zeros(dhead_shape, &device, dtype);
    let mut dhidden = Vec::new();
    for (hidden, targets, weights) in chunks::<B>(hidden, targets, weights) {
        let logits = B::float_matmul(hidden.clone(), B::float_swap_dims(head.clone(), 0, 1));
        let (part, lse) =
            B::cross_entropy_forward(logits.clone(), targets.clone(), weights.clone());
        loss = B::float_add(loss, part);
        let grad = B::cross_entropy_backward(logits, targets, weights, lse, one.clone());
        dhidden.push(B::float_matmul(grad.clone(), head.clone()));
        if head_grad {
            dhead = B::float_add(
                dhead,
                B::float_matmul(B::float_swap_dims(grad, 0, 1), hidden),
            );
        }
    }
    (loss, B::float_cat(dhidden, 0), dhead)
}

/// The numbers of a matrix rounded to bf16, in f32.
pub(super) fn rounded<B: CrossEntropyOps>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_cast(B::float_cast(x, FloatDType::BF16), FloatDType::F32)
}

/// A matrix times a factor of shape `[1]`.
pub(super) fn scaled_by<B: CrossEntropyOps>(
    x: FloatTensor<B>,
    factor: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_mul(x, B::float_reshape(factor, Shape::from([1, 1])))
}
