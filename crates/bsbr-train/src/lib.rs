#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod evaluate;
pub mod finetune;
pub mod gradients;
pub mod measured_step;
pub mod optimizer;
pub mod questions;

mod batch;
mod init;
mod observer;
mod pretrain;
mod run;
mod schedule;

pub use config::PretrainConfig;
pub use error::TrainError;
pub use init::init;
pub use observer::{Observer, RunOptions, StepReport};
pub use pretrain::{Start, pretrain};
