//! Bases of compressed states, from text.

use bsbr_attention::{AttentionInput, Calibration, CompressionBases};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::Tensor;

use crate::error::ConvertError;

/// Layers whose states are compressed in bases that were never set.
pub fn uncalibrated_layers(model: &Gpt2) -> Vec<usize> {
    let is_unset = |bases: &CompressionBases| {
        [&bases.key, &bases.value].iter().any(|basis| {
            let values = basis.val().into_data();
            values.iter::<f32>().any(|value| !value.is_finite())
        })
    };
    model
        .h
        .iter()
        .enumerate()
        .filter(|(_, block)| block.attn.bsbr.bases.as_ref().is_some_and(is_unset))
        .map(|(layer, _)| layer)
        .collect()
}

/// Sets the bases of every layer that compresses its states, from what the layer sees when the
/// model reads `batches`.
///
/// Layers are calibrated one after the other, so that each sees what the compressed layers before
/// it give. Some tens of thousands of tokens are enough; the activations of all of them are held at
/// once, n_embd numbers a token. A model that compresses nothing is given back as it is.
///
/// # Errors
///
/// [`ConvertError`] where a batch is not one for this model, where there is none or none that holds
/// a whole chunk, or where a layer sees what is not finite.
pub fn calibrate(mut model: Gpt2, batches: &[TokenBatch]) -> Result<Gpt2, ConvertError> {
    let shape = model.config().head_shape();
    let device = model.device();
    let Some(last) = model.h.iter().rposition(|b| b.attn.bsbr.bases.is_some()) else {
        return Ok(model);
    };
    for batch in batches {
        model.check(batch, 0)?;
    }
    let mut streams: Vec<Tensor<3>> = batches
        .iter()
        .map(|batch| model.embed(batch, 0).detach())
        .collect();
    for (layer, block) in model.h.iter_mut().enumerate().take(last + 1) {
        if let Some(mut seen) = Calibration::new(block.attn.bsbr.config(), shape) {
            for (x, batch) in streams.iter().zip(batches) {
                let normed = block.ln_1.forward(x.clone());
                let input: AttentionInput = block.attn.project(normed, batch.padding());
                seen.observe(&input);
            }
            let bases = seen
                .bases(&device)
                .map_err(|source| ConvertError::Calibration { layer, source })?;
            block.attn.bsbr = block.attn.bsbr.clone().with_bases(bases);
        }
        // What comes after the last layer that compresses is not looked at.
        if layer < last {
            for (x, batch) in streams.iter_mut().zip(batches) {
                *x = block.forward(x.clone(), batch.padding()).detach();
            }
        }
    }
    Ok(model)
}
