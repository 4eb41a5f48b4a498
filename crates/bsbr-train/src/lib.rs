#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod gradients;
pub mod optimizer;

pub mod evaluate;
pub mod questions;

mod init;
mod pretrain;

pub use config::PretrainConfig;
pub use error::TrainError;
pub use init::init;
pub use pretrain::{Observer, RunOptions, StepReport, pretrain};
