//! The cache of `bsbr-kernels`, where it supports the arm.

use bsbr_kernels::{BlockCache, block_cache, dense_block_cache};
use burn::tensor::Tensor;

use crate::attention::Attention;
use crate::config::ArmConfig;

/// A cache for such queries, if the kernel has one for the arm.
pub(super) fn cache(attention: &Attention, query: &Tensor<4>) -> Option<BlockCache> {
    match attention.config() {
        ArmConfig::Dense(config) => dense_block_cache(query, config.kv_bits),
        ArmConfig::Local(config) => block_cache(query, config.block_attention()),
        ArmConfig::Moments(config) if !config.state && !config.learned => {
            block_cache(query, config.block_attention())
        }
        ArmConfig::Moments(_) | ArmConfig::Published(_) => None,
    }
}
