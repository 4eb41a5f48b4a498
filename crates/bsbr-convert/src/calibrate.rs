//! Bases of compressed states, from text.

use bsbr_attention::{AttentionInput, Calibration, CompressionBases};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::Tensor;

use crate::error::ConvertError;

/// Layers with compressed states whose bases were never set.
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

/// Sets the bases of every layer with compressed states, from the layer's inputs when the model
/// reads `batches`.
///
/// Layers are calibrated in order, so each sees the output of the compressed layers before it. Some
/// tens of thousands of tokens suffice. The activations of all of them are held at once, n_embd
/// numbers per token. A model without compression is returned unchanged.
///
/// # Errors
///
/// [`ConvertError`] if the model cannot take a batch, if there is none or none that holds a whole
/// chunk, or if a layer's input is not finite.
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
        // Layers after the last one with compression are not needed.
        if layer < last {
            for (x, batch) in streams.iter_mut().zip(batches) {
                *x = block.forward(x.clone(), batch.padding()).detach();
            }
        }
    }
    Ok(model)
}
