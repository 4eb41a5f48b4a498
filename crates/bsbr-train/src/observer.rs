//! What a run tells its caller, and what its caller decides.

use std::time::Duration;

use bsbr_gpt2::Gpt2;

use crate::devices::Devices;
use crate::finetune::Validation;

/// What a step did.
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
    /// Mean loss of the step: cross entropy in nats, answers weighted up, unless the objective is
    /// another.
    pub loss: f64,
    /// Mean cross entropy of the answers alone, in nats; `None` where the step held none.
    pub answer_loss: Option<f64>,
    /// Global norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// What the learning rates are multiplied by.
    pub rate: f64,
    /// How long the step took.
    pub elapsed: Duration,
}

/// What the caller of a run is told, and may ask for.
pub trait Observer {
    /// After each step.
    fn step(&mut self, report: &StepReport);

    /// A message for the user.
    fn message(&mut self, text: &str);

    /// Called in pretraining every `validate_every` steps and at the end, in fine-tuning after each
    /// epoch, before the checkpoint that follows it is written. The model has no gradients, and
    /// adapters are merged into it.
    fn validate(&mut self, step: u64, model: &Gpt2);

    /// How the model does on what is kept back, in fine-tuning: before the first step and after each
    /// epoch.
    fn validated(&mut self, _validation: &Validation) {}

    /// Whether to stop after this step; a checkpoint is written first.
    fn should_stop(&self) -> bool {
        false
    }
}

/// How a run is carried out; nothing here changes its numbers but by rounding.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// How often a checkpoint is written.
    pub checkpoint_every: Duration,
    /// Steps between validations.
    pub validate_every: u64,
    /// Which devices share the work of a step.
    pub devices: Devices,
}

impl Default for RunOptions {
    /// A checkpoint every two minutes, validation where an epoch or the run ends, and all work on
    /// the model's device.
    fn default() -> Self {
        Self {
            checkpoint_every: Duration::from_secs(120),
            validate_every: u64::MAX,
            devices: Devices::default(),
        }
    }
}
