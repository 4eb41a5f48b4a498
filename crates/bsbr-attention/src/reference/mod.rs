//! The definitions of the arms, simple and slow.
//!
//! Only the configuration and the parameters are shared with the fast forms, so
//! the comparison is independent. One sequence and one head at a time, with
//! gradients.

mod clusters;
mod dense;
mod local;
mod moments;
mod published;

use burn::module::Param;
use burn::tensor::Tensor;

use crate::attention::{Attention, AttentionInput};
use crate::config::{ArmConfig, KvBits};

/// One head of one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// `[N, D]`
    pub query: Tensor<2>,
    /// `[N, D]`
    pub key: Tensor<2>,
    /// `[N, D]`
    pub value: Tensor<2>,
    /// σ
    pub scale: f64,
}

impl Head {
    /// N
    pub fn tokens(&self) -> usize {
        self.query.dims()[0]
    }
}

/// The expected output of [`Attention::forward`].
///
/// # Shapes
///
/// - output: `[B, H, N, D]`; rows of padding tokens are zero
pub fn forward(attention: &Attention, input: AttentionInput) -> Tensor<4> {
    let [batch, heads, tokens, d] = input.query.dims();
    let device = input.query.device();
    let mut rows = Vec::with_capacity(batch);
    for row in 0..batch {
        let padding = input.padding.of_row(row);
        let real = tokens - padding;
        let mut outputs = Vec::with_capacity(heads);
        for head in 0..heads {
            let cut = |x: &Tensor<4>| -> Tensor<2> {
                x.clone()
                    .slice([row..row + 1, head..head + 1, padding..tokens, 0..d])
                    .reshape([real, d])
            };
            let one = Head {
                query: cut(&input.query),
                key: cut(&input.key),
                value: cut(&input.value),
                scale: input.scale,
            };
            let hidden: Tensor<2> = input
                .hidden_states
                .clone()
                .narrow(0, row, 1)
                .narrow(1, padding, real)
                .squeeze_dim(0);
            let output = one_head(attention, one, hidden, head);
            outputs.push(if padding == 0 {
                output
            } else {
                Tensor::cat(vec![Tensor::zeros([padding, d], &device), output], 0)
            });
        }
        rows.push(Tensor::stack::<3>(outputs, 0));
    }
    Tensor::stack(rows, 0)
}

fn one_head(attention: &Attention, one: Head, hidden: Tensor<2>, head: usize) -> Tensor<2> {
    // U_k and U_v of this head.
    let bases = attention.bases.as_ref().map(|bases| {
        let of = |basis: Tensor<3>| -> Tensor<2> { basis.narrow(0, head, 1).squeeze_dim(0) };
        (of(bases.key.val()), of(bases.value.val()))
    });
    match attention.config() {
        ArmConfig::Dense(config) => dense::forward(config.kv_bits, &one),
        ArmConfig::Local(config) => local::forward(config, &one),
        ArmConfig::Moments(config) => {
            let learned = attention.tuning.as_ref().map(|tuning| {
                let of = |x: &Param<Tensor<1>>| x.val().narrow(0, head, 1).unsqueeze::<2>();
                moments::Learned {
                    temperature: of(&tuning.temperature),
                    bias: of(&tuning.bias),
                    gain: tuning.gain.as_ref().map(of),
                    routing: attention.routing.as_ref().map(|routing| {
                        let d = one.query.dims()[1];
                        let of_head = |x: Tensor<2>| x.narrow(1, head * d, d);
                        moments::Routed {
                            receivers: of_head(routing.retrieval.forward(hidden.clone())),
                            offers: of_head(routing.summary.forward(hidden.clone())),
                        }
                    }),
                }
            });
            moments::forward(&config.of_head(head), bases, learned, &one)
        }
        ArmConfig::Published(config) => match &attention.routing {
            Some(routing) => published::forward(config, routing, bases, &one, hidden, head),
            None => dense::forward(KvBits::ThirtyTwo, &one),
        },
    }
}
