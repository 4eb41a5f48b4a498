#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod parameters;

mod batch;
mod block;
mod cache;
mod generate;
mod initialize;
mod layers;
mod model;
mod packing;
mod position;
mod spans;

/// Burn, in the version of this crate's tensors and devices.
pub use burn;

pub use batch::TokenBatch;
pub use block::{Block, Gpt2Attention, Mlp};
pub use bsbr_kernels::{Int8Weight, ProductType};
pub use cache::{Gpt2Cache, StoredCacheError};
pub use config::{Activation, BsbrConfig, ExtendedPositions, Gpt2Config, TokenIds};
pub use error::{ConfigError, InputError, PackError};
pub use generate::{
    Generation, GenerationConfig, GenerationDefaults, GenerationError, PREFILL_CHUNK_SIZE, Sampler,
};
pub use layers::{Conv1d, Embedding, LayerNorm};
pub use model::{Gpt2, LmHead};
pub use packing::LINEAR_LAYERS;
pub use position::{PositionExtension, UnknownExtension};
pub use spans::SPANS;
