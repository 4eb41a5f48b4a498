//! The loop of every run: step, report, checkpoint, stop.

use std::path::Path;
use std::time::Instant;

use bsbr_files::{Lock, check_file};
use burn::optim::GradientsParams;

use crate::batch::Losses;
use crate::checkpoint::{self, RunIdentity, State};
use crate::error::TrainError;
use crate::gradients::clip_global_norm;
use crate::observer::{RunOptions, StepReport, TrainingObserver};

/// The result of a step, before the weights change.
pub(crate) struct Step {
    pub grads: GradientsParams,
    pub losses: Losses,
    /// The stage's number, from 0.
    pub stage: usize,
    /// Tokens read so far, including this step.
    pub tokens: u64,
    /// Tokens of this step.
    pub step_tokens: u64,
    /// The factor of the learning rates.
    pub rate: f64,
}

/// The steps of a kind of training; the loop does the rest.
pub(crate) trait Work {
    /// Steps of the whole run.
    fn total_steps(&self) -> u64;

    /// Largest global norm of the gradients.
    fn clip_norm(&self) -> f64;

    /// The step after `state`: a pure function of the state, so a run can resume.
    fn step(&mut self, state: &State) -> Result<Step, TrainError>;

    /// Called after the weights have changed; returns whether the run ends.
    fn after(
        &mut self,
        state: &mut State,
        report: &StepReport,
        observer: &mut dyn TrainingObserver,
    ) -> Result<bool, TrainError>;
}

/// The state at which a run continues: its newest checkpoint in `folder`, or its initial state;
/// with a lock that excludes other processes from the folder.
pub(crate) fn resume(
    folder: &Path,
    run: &RunIdentity,
    fresh: impl Fn() -> Result<State, TrainError>,
    observer: &mut dyn TrainingObserver,
) -> Result<(State, Lock), TrainError> {
    let lock = Lock::acquire(folder)?;
    // An unwritable folder should fail now instead of after the first minutes.
    std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    let start = fresh()?;
    let bytes = checkpoint::bytes_to_come(folder, &start.model);
    check_file(&folder.join("checkpoint"), bytes)?;
    let (found, refused) = checkpoint::load_newest(folder, run, &fresh)?;
    for (number, error) in (1..).zip(&refused) {
        let next = match found.is_none() && number == refused.len() {
            true => "there is no earlier one, so the run starts from the beginning",
            false => "trying the previous one",
        };
        observer.message(&format!("{error}; {next}"));
    }
    match found {
        Some(state) => {
            observer.message(&format!("resuming after step {}", state.step));
            Ok((state, lock))
        }
        None => Ok((start, lock)),
    }
}

/// Runs the remaining steps; returns the last state, and whether the run has ended.
pub(crate) fn run(
    work: &mut dyn Work,
    mut state: State,
    folder: &Path,
    run: &RunIdentity,
    options: &RunOptions,
    observer: &mut dyn TrainingObserver,
) -> Result<(State, bool), TrainError> {
    let total_steps = work.total_steps();
    let mut last_checkpoint = Instant::now();
    let mut done = state.ended || state.step >= total_steps;
    while !done {
        let started = Instant::now();
        let step = work.step(&state)?;
        let diverged = |loss| TrainError::Diverged {
            step: state.step,
            loss,
        };
        if !step.losses.value.is_finite() {
            return Err(diverged(step.losses.value));
        }
        let (grads, gradient_norm) = clip_global_norm(&state.model, step.grads, work.clip_norm());
        if !gradient_norm.is_finite() {
            return Err(TrainError::Gradients { step: state.step });
        }
        state.model = state.optimizer.step(state.model, grads, step.rate);
        state.step += 1;
        let report = StepReport {
            step: state.step,
            total_steps,
            stage: step.stage,
            tokens: step.tokens,
            step_tokens: step.step_tokens,
            loss: step.losses.value,
            answer_loss: step.losses.mean_answer(),
            gradient_norm,
            rate: step.rate,
            elapsed: started.elapsed(),
        };
        observer.step(&report);
        state.ended = work.after(&mut state, &report, observer)? || state.step >= total_steps;
        done = state.ended;
        let stop = observer.should_stop();
        if done || stop || last_checkpoint.elapsed() >= options.checkpoint_every {
            checkpoint::save(folder, &state, run)?;
            last_checkpoint = Instant::now();
        }
        if stop && !done {
            observer.message(&format!(
                "stopped after step {}; run again to resume",
                state.step
            ));
            break;
        }
    }
    Ok((state, done))
}
