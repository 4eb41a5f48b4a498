//! Fine-tuning of a converted model, or of the original for comparison.

pub mod config;

mod data;
mod distill;
mod fit;
mod history;
mod plot;
mod precision;
mod trainable;
mod transfer;

pub use config::{FinetuneConfig, Objective, Trainable};
pub use data::{Dataset, Mix};
pub use history::{History, Validation};
pub use plot::curves;
pub(crate) use precision::StepPrecision;
pub use precision::check_precision;

use std::path::Path;
use std::sync::Arc;

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::Gpt2;
use bsbr_gpt2::parameters::cast_tensors;
use burn::module::Module;
use burn::tensor::DType;

use crate::batch::{Rows, language_modelling, machine_threads, total_weight};
use crate::checkpoint::{self, RunIdentity, State, weights_hash};
use crate::error::TrainError;
use crate::observer::{RunOptions, StepReport, TrainingObserver};
use crate::optimizer::{Optimizer, number_parameters};
use crate::parallel::{Executor, MicroBatch};
use crate::positions::Positions;
use crate::run::{self, Step, Work};
use crate::schedule;

/// Models up to this number of parameters compute micro-batches in parallel; for larger ones
/// several sets of activations would take too much memory.
const SIDE_BY_SIDE: usize = 20_000_000;

/// The result of a run.
#[derive(Debug)]
pub struct Finetuned {
    /// The weights with merged adapters, without gradients.
    pub model: Gpt2,
    /// The curves.
    pub history: History,
    /// Whether the run has ended; otherwise it was stopped and can resume.
    pub done: bool,
}

/// Trains `model`, or resumes from the newest checkpoint in `folder`.
///
/// `original` is the teacher, if the objective needs one. The order of the data and all random
/// numbers are pure functions of the seed and the step, so an interrupted run ends with the weights
/// of an uninterrupted one.
///
/// # Errors
///
/// [`TrainError`] if settings, data or models do not fit together, the folder cannot be written,
/// its checkpoints belong to another run, or the loss diverges.
pub fn finetune(
    config: &FinetuneConfig,
    model: Gpt2,
    original: Option<&Gpt2>,
    data: &Dataset,
    folder: &Path,
    options: &RunOptions,
    observer: &mut dyn TrainingObserver,
) -> Result<Finetuned, TrainError> {
    config.validate()?;
    check_precision(config.precision, &model.device())?;
    fit::check(config, &model, original, data)?;
    // The model may have been loaded with weights in half precision.
    let model = cast_tensors(model, DType::F32);
    let original = original.map(|model| cast_tensors(model.clone(), DType::F32));
    let original = original.as_ref();
    let model = match config.train {
        Trainable::Retrieval => model.with_learned_retrieval(),
        _ => model,
    };
    let mut parts = vec![data.hash().to_owned(), weights_hash(&model)];
    parts.extend(original.map(weights_hash));
    let weights = parts[1..].concat();
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let run = RunIdentity::new(
        checkpoint::run_hash(&(config, model.config()), &parts)?,
        vec![
            ("set of settings", checkpoint::run_hash(config, &[])?),
            ("data set or window", data.hash().to_owned()),
            (
                "configuration of the model",
                checkpoint::run_hash(&model.config(), &[])?,
            ),
            ("model", weights),
        ],
    );
    let fresh = || -> Result<State, TrainError> {
        let model = trainable::select(model.clone().train(), config.train, config.seed)?;
        Ok(State::new(
            number_parameters(model),
            Optimizer::adamw(&config.optimizer),
        ))
    };
    let (mut state, _lock) = run::resume(folder, &run, fresh, observer)?;
    let threads = match model.num_params() {
        0..=SIDE_BY_SIDE => machine_threads(),
        _ => 1,
    };
    let passes = threads.min(config.grad_accumulation);
    let at_a_time = passes * config.batch_size * data.window_size();
    let mut work = Finetuning {
        config,
        data,
        recompute: options.recompute.applies(&model.config(), at_a_time),
        executor: Executor::new(
            &options.devices,
            original
                .filter(|_| config.needs_original())
                .map(Module::valid),
            threads,
        ),
        order: None,
    };
    if state.step == 0 {
        work.validate(&mut state, observer)?;
    }
    let (state, done) = run::run(&mut work, state, folder, &run, options, observer)?;
    let model = state.model.valid().materialize();
    Ok(Finetuned {
        model: match config.position_chunks > 1 && config.train == Trainable::All {
            true => model.with_trained_positions(),
            false => model,
        },
        history: History::from_bytes(&state.history)?,
        done,
    })
}

/// A model's loss on one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowLoss {
    /// Cross entropy of its targets, in nats, summed with their weights.
    pub nats: f64,
    /// The sum of the weights of its targets.
    pub tokens: f64,
}

/// The loss of `model` on each of the first `most` validation windows.
///
/// # Errors
///
/// [`TrainError`] if a window cannot be read, or the model cannot take it.
pub fn held_out(model: &Gpt2, data: &Dataset, most: usize) -> Result<Vec<WindowLoss>, TrainError> {
    losses(model, data, most, |_| Positions::From(0))
}

/// [`held_out`], with the positions of each window by its number.
fn losses(
    model: &Gpt2,
    data: &Dataset,
    most: usize,
    positions: impl Fn(u64) -> Positions,
) -> Result<Vec<WindowLoss>, TrainError> {
    (0..)
        .zip(data.validation().take(most))
        .map(|(number, window)| {
            let window = window?;
            let rows = Rows::new(std::slice::from_ref(&window))?;
            let hidden = rows.hidden(model, &positions(number))?;
            let sum = rows.cross_entropy(hidden, model.output_table(), None);
            Ok(WindowLoss {
                nats: f64::from(sum.into_scalar::<f32>()),
                tokens: total_weight(std::slice::from_ref(&window)),
            })
        })
        .collect()
}

struct Finetuning<'a> {
    config: &'a FinetuneConfig,
    data: &'a Dataset,
    /// Whether the backward pass recomputes blocks.
    recompute: bool,
    executor: Executor,
    /// An epoch and the order of its windows.
    order: Option<(u64, Vec<u64>)>,
}

impl Finetuning<'_> {
    fn steps_per_epoch(&self) -> u64 {
        self.data.steps(self.config.rows())
    }

    /// The windows of a step.
    fn windows(&mut self, step: u64) -> Result<Vec<TrainWindow>, TrainError> {
        let (epoch, place) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let order = match &self.order {
            Some((known, order)) if *known == epoch => order,
            _ => {
                let order = self.data.order(self.config.seed, epoch);
                &self.order.insert((epoch, order)).1
            }
        };
        let rows = self.config.rows();
        order
            .iter()
            .skip(place as usize * rows)
            .take(rows)
            .map(|&index| self.data.window(index))
            .collect()
    }

    /// Records the result on the validation windows.
    fn validate(
        &self,
        state: &mut State,
        observer: &mut dyn TrainingObserver,
    ) -> Result<(), TrainError> {
        let model = state.model.valid();
        let (config, n_positions) = (self.config, model.config().n_positions);
        let losses = losses(&model, self.data, usize::MAX, |number| {
            match config.position_chunks {
                0 | 1 => Positions::From(0),
                chunks => {
                    let shape = [1, self.data.window_size()];
                    // No step has this number.
                    Positions::skipping(config.seed, u64::MAX, number, shape, n_positions, chunks)
                }
            }
        })?;
        let nats: f64 = losses.iter().map(|one| one.nats).sum();
        let weight: f64 = losses.iter().map(|one| one.tokens).sum();
        if weight == 0.0 {
            return Ok(());
        }
        let (step, loss) = (state.step, nats / weight);
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step, loss });
        }
        let mut history = History::from_bytes(&state.history)?;
        let validation = Validation::new(step, loss);
        let perplexity = validation.perplexity;
        observer.validated(&validation);
        history.validations.push(validation);
        state.history = history.to_bytes()?;
        observer.message(&format!(
            "validation after step {step}: loss {loss:.4}, perplexity {perplexity:.3}"
        ));
        Ok(())
    }
}

impl Work for Finetuning<'_> {
    fn total_steps(&self) -> u64 {
        (self.config.transfer_epochs + self.config.epochs) * self.steps_per_epoch()
    }

    fn clip_norm(&self) -> f64 {
        self.config.optimizer.clip_norm
    }

    fn step(&mut self, state: &State) -> Result<Step, TrainError> {
        let config = self.config;
        let step = state.step;
        let windows = self.windows(step)?;
        let first = step < config.transfer_epochs * self.steps_per_epoch();
        let objective = match first {
            true => Objective::Transfer,
            false => config.objective,
        };
        let (weight, count) = (total_weight(&windows).max(1.0), windows.len());
        let (positions, size) = (state.model.config().n_positions, self.data.window_size());
        let (seed, chunks, random_offsets) =
            (config.seed, config.position_chunks, config.random_offsets);
        let recompute = self.recompute;
        let precision = StepPrecision::new(config.precision, &state.model);
        let micro_batch: MicroBatch = Arc::new(move |model, original, micro, rows| {
            let shape = [rows.len(), size];
            let at = match (chunks, random_offsets) {
                (2.., _) => Positions::skipping(seed, step, micro, shape, positions, chunks),
                (_, true) => Positions::random_offset(seed, step, micro, positions, size),
                (_, false) => Positions::From(0),
            };
            // The original may have no positions beyond a window's length.
            let of_original = at.without_skips();
            // Gradients and losses have this factor until they are f32.
            let scale = precision.loss_scale();
            let weight = weight / scale;
            let lowered = precision.lowered(model);
            let model = lowered.as_ref().unwrap_or(model);
            let found = match (objective, original) {
                (Objective::Distill { temperature, mix }, Some(original)) => {
                    let blend = (temperature, mix);
                    let at = [&of_original, &at];
                    distill::distillation(model, original, rows, at, weight, blend, recompute)
                }
                (Objective::Transfer, Some(original)) => {
                    transfer::attention_transfer(model, original, rows, &of_original, count, scale)
                }
                _ => language_modelling(model, rows, &at, weight, recompute),
            };
            let (grads, mut losses) = found?;
            losses.value /= scale;
            Ok((precision.raised(model, grads), losses))
        });
        let (grads, losses) =
            self.executor
                .step(&state.model, windows, config.batch_size, micro_batch)?;
        let rates = &config.optimizer;
        let total = self.total_steps();
        let warmup = (rates.warmup_share * total as f64).round() as u64;
        Ok(Step {
            grads,
            losses,
            stage: usize::from(!first && config.transfer_epochs > 0),
            tokens: (step + 1) * (config.rows() * size) as u64,
            step_tokens: (count * size) as u64,
            rate: schedule::rate(step, warmup, total, rates.final_share),
        })
    }

    fn after(
        &mut self,
        state: &mut State,
        report: &StepReport,
        observer: &mut dyn TrainingObserver,
    ) -> Result<bool, TrainError> {
        let mut history = History::from_bytes(&state.history)?;
        history.losses.push(report.loss);
        history.gradient_norms.push(report.gradient_norm);
        state.history = history.to_bytes()?;
        if !state.step.is_multiple_of(self.steps_per_epoch()) {
            return Ok(false);
        }
        self.validate(state, observer)?;
        observer.validate(state.step, &state.model.valid().materialize());
        let waited = History::from_bytes(&state.history)?.since_best();
        Ok(self.config.patience > 0 && waited >= self.config.patience)
    }
}
