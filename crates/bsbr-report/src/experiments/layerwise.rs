//! A forward pass layer by layer, with access to the attention.

use bsbr_attention::{Attention, AttentionInput};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::Tensor;

use crate::error::ReportError;

/// A model, and its position in a forward pass.
#[derive(Debug)]
pub(super) struct LayerwisePass {
    model: Gpt2,
    batch: TokenBatch,
    x: Tensor<3>,
}

impl LayerwisePass {
    pub(super) fn new(model: Gpt2, batch: &TokenBatch) -> Self {
        Self {
            x: model.embed(batch, 0),
            batch: batch.clone(),
            model,
        }
    }

    /// Runs a layer, and returns its attention and the attention's input.
    pub(super) fn layer(
        &mut self,
        layer: usize,
    ) -> Result<(&Attention, AttentionInput), ReportError> {
        let mut seen: Option<AttentionInput> = None;
        let block = &self.model.h[layer];
        self.x = block.forward_with(self.x.clone(), self.batch.padding(), |attention, input| {
            seen = Some(input.clone());
            attention.forward(input)
        });
        match seen {
            Some(input) => Ok((&block.attn.bsbr, input)),
            None => Err(ReportError::Tensor(
                "the attention was not called".to_owned(),
            )),
        }
    }
}
