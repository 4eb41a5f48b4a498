//! The published arm, chunk by chunk.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::{Head, dense};
use crate::config::{KvBits, PublishedConfig};
use crate::published::PublishedRouting;

pub(super) fn forward(
    config: &PublishedConfig,
    routing: &PublishedRouting,
    bases: Option<(Tensor<2>, Tensor<2>)>,
    head: &Head,
    hidden: Tensor<2>,
    index: usize,
) -> Tensor<2> {
    let size = config.chunk_size;
    let (n, d) = (head.tokens(), head.query.dims()[1]);
    let of_head = |x: Tensor<2>| x.narrow(1, index * d, d);
    let r = of_head(routing.retrieval.forward(hidden.clone()));
    let h = of_head(routing.summary.forward(hidden));

    let mut outputs = Vec::new();
    for start in (0..n).step_by(size) {
        let length = size.min(n - start);
        let cut = |x: &Tensor<2>| x.clone().narrow(0, start, length);
        let own = Head {
            query: cut(&head.query),
            key: cut(&head.key),
            value: cut(&head.value),
            scale: head.scale,
        };
        let mut output = dense::forward(KvBits::ThirtyTwo, &own);
        let before = start / size;
        if before > 0 {
            let ask = r.clone().narrow(0, start - 1, 1);
            let scores = (0..before)
                .map(|b| {
                    let offer = h.clone().narrow(0, (b + 1) * size - 1, 1);
                    (ask.clone() * offer).sum_dim(1) / (d as f64).sqrt()
                })
                .collect();
            let w = softmax(Tensor::cat(scores, 1), 1);
            for b in 0..before {
                let (k, v) = (
                    head.key.clone().narrow(0, b * size, size),
                    head.value.clone().narrow(0, b * size, size),
                );
                let mut state = k.transpose().matmul(v);
                if let Some((u_k, u_v)) = &bases {
                    let kept = |u: &Tensor<2>| u.clone().matmul(u.clone().transpose());
                    state = kept(u_k).matmul(state).matmul(kept(u_v));
                }
                output = output + own.query.clone().matmul(state) * w.clone().narrow(1, b, 1);
            }
        }
        outputs.push(output);
    }
    Tensor::cat(outputs, 0)
}
