//! The kernel's own cache, where there is one.

use bsbr_kernels::{BlockCache, caches_blocks};
use burn::tensor::Tensor;

use crate::attention::Attention;
use crate::config::{ArmConfig, KvBits};
use crate::fused;

/// A cache for queries like these, if the kernel has one for the arm.
pub(super) fn cache(attention: &Attention, query: &Tensor<4>) -> Option<BlockCache> {
    if query.is_autodiff() || !caches_blocks(query) {
        return None;
    }
    let settings = match attention.config() {
        ArmConfig::Dense(config) if config.kv_bits != KvBits::ThirtyTwo => {
            return Some(BlockCache::dense(config.kv_bits));
        }
        ArmConfig::Local(config) => fused::near(&config.grid()),
        ArmConfig::Moments(config) if !config.state && !config.learned => config.block_attention(),
        ArmConfig::Moments(_) | ArmConfig::Dense(_) | ArmConfig::Published(_) => return None,
    };
    Some(BlockCache::new(settings))
}
