#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod clusters;
pub mod config;
pub mod error;
pub mod reference;
pub mod summary;

mod attention;
mod cache;
mod calibrate;
mod chunked;
mod compression;
mod cost;
mod dense;
mod eigen;
mod exact;
mod fused;
mod grammar;
mod joint;
mod local;
mod masks;
mod moments;
mod padding;
mod published;
mod routing;
mod rows;
mod spans;
mod tuning;
mod weights;

/// Burn, in the version of this crate's tensors and devices.
pub use bsbr_kernels::Grid;
pub use burn;

pub use attention::{Attention, AttentionInput, HeadShape};
pub use cache::Cache;
pub use calibrate::Calibration;
pub use compression::CompressionBases;
pub use config::{
    ArmConfig, DenseConfig, HeadLevel, KvBits, LocalConfig, MomentsConfig, PublishedConfig,
};
pub use error::{ArmError, CalibrationError, ConfigError};
pub use grammar::{arm_or_text, split_arms};
pub use padding::Padding;
pub use published::PublishedRouting;
pub use tuning::RetrievalTuning;
pub use weights::{AttentionWeights, ClusterWeights, Pairs};
