#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod config;
pub mod devices;
pub mod error;
pub mod evaluate;
pub mod finetune;
pub mod gradients;
pub mod measured_step;
pub mod optimizer;
pub mod questions;

mod batch;
mod collective;
mod init;
mod observer;
mod parallel;
mod positions;
mod pretrain;
mod recompute;
mod run;
mod schedule;

/// Burn, in the version of this crate's tensors and devices.
pub use burn;

pub use config::PretrainConfig;
pub use devices::{Devices, Strategy};
pub use error::TrainError;
pub use init::init;
pub use observer::{RunOptions, StepReport, TrainingObserver};
pub use pretrain::{Start, pretrain};
pub use recompute::{Recompute, activations};
