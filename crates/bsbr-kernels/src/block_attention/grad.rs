//! The operation on the autodiff backend: plain operations, which differentiate.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;

use super::BlockAttentionOps;

impl<B: BlockAttentionOps, C: CheckpointStrategy> BlockAttentionOps for Autodiff<B, C> {}
