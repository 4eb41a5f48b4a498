//! Backward passes that recompute each block's activations instead of keeping them.
//!
//! Burn's autodiff keeps what the gradients of every operation in a graph need until the backward
//! pass of that graph ends. So recomputation uses a graph for each block. The forward pass runs the
//! blocks without gradients and keeps only their inputs. The backward pass goes from the last block
//! to the first, computes each again from its input, and uses the gradient of its output as the
//! factors of a sum. A custom operation in Burn would not do: it would have to name its parents,
//! which are all parameters of a block with its arm and adapters, and to use tensors of one
//! backend, while a block supports any.
//!
//! The gradients equal those of one graph bit for bit, because the operations and their order are
//! the same.

use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::gradients::accumulate;
use crate::positions::Positions;

/// Numbers that the backward pass of a block needs per token, in multiples of the model's width:
/// the inputs and outputs of norms, projections, attention and feed-forward layer.
const KEPT_OF_A_BLOCK: usize = 17;

/// The size of activations, in bytes, above which [`Recompute::Auto`] recomputes.
const AUTO_FROM: usize = 2 << 30;

/// Whether the backward pass recomputes the blocks' activations instead of keeping them. This takes
/// a third more time, and memory for one block's activations instead of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// If the [`activations`] in memory at one time are estimated at more than 2 GiB.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Recompute {
    /// Whether a pass over `tokens` tokens, in all rows of all concurrent passes, recomputes.
    pub fn applies(self, config: &Gpt2Config, tokens: usize) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Auto => activations(config, tokens) > AUTO_FROM,
        }
    }
}

/// The approximate size in bytes of the activations of all blocks until the backward pass, in f32.
///
/// This counts 17 numbers per token and dimension of the model, which a block keeps with dense
/// attention, and with the local and moments arms if they are one kernel. If these arms are
/// composed of smaller operations, which copy the keys of each chunk, blocks keep up to twice as
/// many. With exact clusters they also keep the logits of all pairs, which are not counted.
pub fn activations(config: &Gpt2Config, tokens: usize) -> usize {
    [
        config.n_layer,
        config.n_embd,
        KEPT_OF_A_BLOCK,
        size_of::<f32>(),
    ]
    .into_iter()
    .fold(tokens, usize::saturating_mul)
}

/// A forward pass to hidden states that will have a backward pass.
pub(crate) struct Pass<'a> {
    model: &'a Gpt2,
    inputs: &'a TokenBatch,
    positions: &'a Positions,
    /// After the final norm. `[B·N, n_embd]`
    pub hidden: Tensor<2>,
    kept: Option<Kept>,
}

/// The data that a recomputing pass keeps.
struct Kept {
    /// The input of each block, without gradients. `[B, N, n_embd]`
    inputs: Vec<Tensor<3>>,
    /// The output of the last block, a leaf of the graph of `hidden`. `[B, N, n_embd]`
    last: Tensor<3>,
}

impl<'a> Pass<'a> {
    /// The hidden states of `inputs` at `positions`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Input`] if the model cannot take them.
    pub fn new(
        model: &'a Gpt2,
        inputs: &'a TokenBatch,
        positions: &'a Positions,
        recompute: bool,
    ) -> Result<Self, TrainError> {
        positions.check(model, inputs)?;
        let x = positions.embed(model, inputs);
        let (last, kept) = match recompute {
            false => (model.blocks(x, inputs.padding()), None),
            true => {
                let kept = Kept::new(model, x, inputs);
                (kept.last.clone(), Some(kept))
            }
        };
        let hidden = model.ln_f.forward(last);
        let [rows, seq_len, size] = hidden.dims();
        Ok(Self {
            model,
            inputs,
            positions,
            hidden: hidden.reshape([rows * seq_len, size]),
            kept,
        })
    }

    /// The gradients of a loss that depends on the hidden states and on parameters other than those
    /// of blocks and position embeddings.
    pub fn backward(self, loss: Tensor<1>) -> GradientsParams {
        let model = self.model;
        let mut grads = loss.backward();
        let mut total = GradientsParams::from_module(&mut grads, model);
        let Some(kept) = self.kept else {
            return total;
        };
        let first = first_trained(model);
        let mut by_output = kept.last.grad_remove(&mut grads);
        // Frees the memory of the loss before the first block is recomputed.
        drop((grads, kept.last, self.hidden));
        let mut inputs = kept.inputs;
        for (layer, block) in model.h.iter().enumerate().rev() {
            let (Some(input), Some(grad)) = (inputs.pop(), by_output.take()) else {
                break;
            };
            if first.is_none_or(|first| layer + 1 < first) {
                break;
            }
            let input = Tensor::from_inner(input).require_grad();
            let output = block.forward(input.clone(), self.inputs.padding());
            let mut grads = seeded(output, grad).backward();
            by_output = input.grad_remove(&mut grads);
            let new = GradientsParams::from_grads(grads, block);
            total = accumulate(model, Some(total), new);
        }
        let embedded = self.positions.embed(model, self.inputs);
        match by_output {
            Some(grad) if embedded.is_tracked() => {
                let grads = seeded(embedded, grad).backward();
                let new = GradientsParams::from_grads(grads, model);
                accumulate(model, Some(total), new)
            }
            _ => total,
        }
    }
}

impl Kept {
    fn new(model: &Gpt2, embedded: Tensor<3>, batch: &TokenBatch) -> Self {
        let mut x = embedded.detach();
        let mut inputs = Vec::with_capacity(model.h.len());
        for block in &model.h {
            inputs.push(x.clone().inner());
            // Still on the autodiff backend, because arms select their algorithm by the backend.
            let frozen = block.clone().freeze().with_packed_weights_of(block);
            x = frozen.forward(x, batch.padding());
        }
        Self {
            inputs,
            last: x.detach().require_grad(),
        }
    }
}

/// A number whose gradient with respect to `output` is `grad`.
fn seeded(output: Tensor<3>, grad: Tensor<3>) -> Tensor<1> {
    (output * Tensor::from_inner(grad)).sum()
}

/// The first part with a trained parameter: 0 for the embeddings, then the blocks.
fn first_trained(model: &Gpt2) -> Option<usize> {
    if trains(&model.wte) || trains(&model.wpe) {
        return Some(0);
    }
    model.h.iter().position(trains).map(|layer| layer + 1)
}

fn trains<M: Module>(module: &M) -> bool {
    struct Trains(bool);
    impl ModuleVisitor for Trains {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }
    let mut found = Trains(false);
    module.visit(&mut found);
    found.0
}
