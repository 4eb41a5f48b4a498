//! What can go wrong in training.

use std::path::PathBuf;

/// A training run that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting that cannot be used.
    #[error("{setting}: {message}")]
    Config {
        /// The setting.
        setting: String,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A place that cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A checkpoint that is damaged or belongs to another run.
    #[error("{path}: {message}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The loss is no longer a number.
    #[error(
        "the loss at step {step} is {loss}; the last checkpoint is kept: \
         lower the learning rate, or start from an earlier checkpoint"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// Gradients that are no numbers.
    #[error(
        "the gradients at step {step} are not finite; the last checkpoint is kept: \
         lower the learning rate, or start from an earlier checkpoint"
    )]
    Gradients {
        /// The step.
        step: u64,
    },
    /// A precision that a device cannot compute in.
    #[error(
        "{precision}: {device} does not compute in it; train in f32, which needs twice the memory for \
         activations, or on a device that does: flex computes in f16 and bf16, a GPU in what its \
         driver offers"
    )]
    Precision {
        /// The precision.
        precision: &'static str,
        /// The device.
        device: String,
    },
    /// A strategy for several devices that one of them cannot follow.
    #[error(
        "strategy ddp: {device} has no collective operations, which only CUDA devices have; \
         use the strategy multi-device, which takes any"
    )]
    NoCollectives {
        /// The device.
        device: String,
    },
    /// A device that failed in the middle of a step.
    #[error(
        "device {place} of the list failed: {message}; the last checkpoint is kept: \
         run again to go on from it, without that device if need be"
    )]
    Worker {
        /// Its place in the list, from 1.
        place: usize,
        /// Why.
        message: String,
    },
    /// A device that failed where there is no list of them.
    #[error("the device failed: {message}; nothing of the step is kept")]
    Device {
        /// Why.
        message: String,
    },
    /// A file of texts that cannot be read.
    #[error(transparent)]
    Dataset(#[from] bsbr_data::dataset::DatasetError),
    /// A tokenizer that cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] bsbr_data::tokenizer::TokenizerError),
    /// A model that cannot be built.
    #[error(transparent)]
    Model(#[from] bsbr_gpt2::ConfigError),
    /// An input that the model cannot take.
    #[error(transparent)]
    Input(#[from] bsbr_gpt2::InputError),
}

impl TrainError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
