//! Attention to sinks and near field only.

use bsbr_kernels::{BlockStates, block_attention};
use burn::tensor::Tensor;

use crate::attention::AttentionInput;
use crate::chunked::Chunked;
use crate::config::LocalConfig;
use crate::fused;

/// softmax over the sinks and the near field.
///
/// # Shapes
///
/// - output: `[B, H, N, D]`
pub(crate) fn forward(config: &LocalConfig, input: AttentionInput) -> Tensor<4> {
    let (inputs, scale) = input.without_hidden_states();
    let settings = config.block_attention();
    if fused::is_best(&settings, &inputs[0]) {
        let [query, key, value] = inputs;
        return block_attention(query, key, value, BlockStates::Off, settings, scale);
    }
    Chunked::new(settings.grid, inputs, scale).attend(None)
}
