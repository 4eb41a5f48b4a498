//! Errors in training.

use std::path::PathBuf;

/// A training run that cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An invalid setting.
    #[error("{setting}: {message}")]
    Config {
        /// The setting.
        setting: String,
        /// The error, and what to do.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A path that cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A checkpoint that is damaged or belongs to another run.
    #[error("{path}: {message}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The error, and what to do.
        message: String,
    },
    /// The loss is NaN or infinite.
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
    /// Gradients are NaN or infinite.
    #[error(
        "the gradients at step {step} are not finite; the last checkpoint is kept: \
         lower the learning rate, or start from an earlier checkpoint"
    )]
    Gradients {
        /// The step.
        step: u64,
    },
    /// A precision that a device does not support.
    #[error(
        "{precision}: {device} does not support it; train in f32, which needs twice the memory for \
         activations, or on another device: flex supports f16 and bf16, a GPU whatever its driver \
         offers"
    )]
    Precision {
        /// The precision.
        precision: &'static str,
        /// The device.
        device: String,
    },
    /// A strategy that a device does not support.
    #[error(
        "strategy ddp: {device} has no collective operations, which only CUDA devices have; \
         use the strategy multi-device, which takes any"
    )]
    NoCollectives {
        /// The device.
        device: String,
    },
    /// A device that failed during a step.
    #[error(
        "device {place} of the list failed: {message}; the last checkpoint is kept: run again to \
         resume from it, without that device if necessary"
    )]
    Worker {
        /// Its place in the list, from 1.
        place: usize,
        /// The cause.
        message: String,
    },
    /// A device that failed, without a list of devices.
    #[error("the device failed: {message}; nothing of the step is kept")]
    Device {
        /// The cause.
        message: String,
    },
    /// A file of texts that cannot be read.
    #[error(transparent)]
    Dataset(#[from] bsbr_data::dataset::DatasetError),
    /// An invalid tokenizer.
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
    /// An invalid setting.
    pub(crate) fn config(setting: impl Into<String>, message: impl ToString) -> Self {
        Self::Config {
            setting: setting.into(),
            message: message.to_string(),
        }
    }

    /// Adds a path to a system error.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
