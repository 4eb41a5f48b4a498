//! Callbacks of a run, and options of the caller.

use std::time::Duration;

use bsbr_gpt2::Gpt2;

use crate::devices::Devices;
use crate::finetune::Validation;
use crate::recompute::Recompute;

/// The report of a step.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// The step, from 1.
    pub step: u64,
    /// Steps of the run.
    pub total_steps: u64,
    /// The stage's number, from 0.
    pub stage: usize,
    /// Tokens read so far.
    pub tokens: u64,
    /// Tokens of this step.
    pub step_tokens: u64,
    /// Mean loss of the step: cross entropy in nats with weighted answers, or the loss of another
    /// objective.
    pub loss: f64,
    /// Mean cross entropy of only the answers, in nats; `None` if the step had none.
    pub answer_loss: Option<f64>,
    /// Global norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// The factor of the learning rates.
    pub rate: f64,
    /// The duration of the step.
    pub elapsed: Duration,
}

/// The caller's view of a run.
pub trait TrainingObserver {
    /// After each step.
    fn step(&mut self, report: &StepReport);

    /// A message for the user.
    fn message(&mut self, text: &str);

    /// Called in pretraining every `validate_every` steps and at the end, in fine-tuning after each
    /// epoch, before the next checkpoint is written. The model has no gradients, and its adapters
    /// are merged.
    fn validate(&mut self, _step: u64, _model: &Gpt2) {}

    /// The result on the validation windows, in fine-tuning: before the first step and after each
    /// epoch.
    fn validated(&mut self, _validation: &Validation) {}

    /// Whether to stop after this step; a checkpoint is written first.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Options of execution; they change results only by rounding.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The time between checkpoints.
    pub checkpoint_every: Duration,
    /// Steps between validations.
    pub validate_every: u64,
    /// Whether the backward pass recomputes blocks, to save memory.
    pub recompute: Recompute,
    /// The devices that share the work of a step.
    pub devices: Devices,
}

impl Default for RunOptions {
    /// A checkpoint every two minutes, validation at the end of an epoch or the run, recomputation
    /// if activations are large, and all work on the model's device.
    fn default() -> Self {
        Self {
            checkpoint_every: Duration::from_secs(120),
            validate_every: u64::MAX,
            recompute: Recompute::default(),
            devices: Devices::default(),
        }
    }
}
