//! Attention transfer: learning the output of the original's attention, layer by layer.

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::Gpt2;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use crate::batch::{Losses, Rows};
use crate::error::TrainError;
use crate::gradients::accumulate;
use crate::positions::Positions;

/// Gradients of a micro-batch's share of the mean squared error between the outputs of the model's
/// attention and the original's on the original's input, averaged over layers.
///
/// Losses and gradients have the factor `scale`. Each layer has its own backward pass, so only its
/// activations are in memory.
pub(crate) fn attention_transfer(
    model: &Gpt2,
    original: &Gpt2,
    windows: &[TrainWindow],
    positions: &Positions,
    step_rows: usize,
    scale: f64,
) -> Result<(GradientsParams, Losses), TrainError> {
    let rows = Rows::new(windows)?;
    positions.check(original, &rows.inputs)?;
    let padding = rows.inputs.padding();
    let share = scale * windows.len() as f64 / (step_rows * model.h.len()) as f64;
    let mut x = positions.embed(original, &rows.inputs);
    let mut total = None;
    let mut losses = Losses::default();
    for (block, learner) in original.h.iter().zip(&model.h) {
        let seen = block.ln_1.forward(x.clone());
        let mut wanted = None;
        x = block.forward_with(x, padding, |attention, input| {
            let heads = attention.forward(input);
            wanted = Some(heads.clone());
            heads
        });
        let Some(wanted) = wanted else { continue };
        let wanted = block.attn.merge(wanted);
        let seen = seen.cast(learner.attn.c_attn.weight.val().dtype());
        let input = learner.attn.project(Tensor::from_inner(seen), padding);
        let found = learner.attn.merge(learner.attn.bsbr.forward(input));
        let found = found.cast(DType::F32);
        let error = found - Tensor::from_inner(wanted);
        let loss = (error.clone() * error).mean() * share;
        losses.value += f64::from(loss.clone().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(loss.backward(), model);
        total = Some(accumulate(model, total, grads));
    }
    Ok((total.unwrap_or_default(), losses))
}
