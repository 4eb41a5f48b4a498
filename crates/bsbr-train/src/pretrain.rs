//! The pretraining loop.

use std::path::Path;
use std::time::{Duration, Instant};

use bsbr_data::stream::{TrainWindow, TrainingStream};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::checkpoint::{self, State};
use crate::config::{PretrainConfig, Stage};
use crate::error::TrainError;
use crate::gradients::{accumulate, clip_global_norm};
use crate::init::init;
use crate::optimizer::{Optimizer, number_parameters};

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
    /// Mean cross entropy of the step, in nats, answers weighted up.
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

/// What the caller of [`pretrain`] is told, and may ask for.
pub trait Observer {
    /// After each step.
    fn step(&mut self, report: &StepReport);

    /// A message for the user.
    fn message(&mut self, text: &str);

    /// Called every `validate_every` steps and at the end.
    fn validate(&mut self, step: u64, model: &Gpt2);

    /// Whether to stop after this step; a checkpoint is written first.
    fn should_stop(&self) -> bool {
        false
    }
}

/// How a run is carried out; nothing here changes its numbers.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// How often a checkpoint is written.
    pub checkpoint_every: Duration,
    /// Steps between validations.
    pub validate_every: u64,
}

/// Trains a model from nothing, or goes on from the newest checkpoint in `folder`.
///
/// The data, the position offsets and the updates of a step are pure functions of the
/// configuration and the step, so an interrupted run ends with the weights of an uninterrupted one.
///
/// # Errors
///
/// [`TrainError`] where the settings are wrong, the folder cannot be written, its checkpoints
/// belong to another run, or the loss diverges.
pub fn pretrain(
    config: &PretrainConfig,
    tokenizer: &TextTokenizer,
    tokenizer_hash: &str,
    folder: &Path,
    device: &Device,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Gpt2, TrainError> {
    config.validate()?;
    // A folder that cannot be written is better known now than after the first minutes.
    std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    let gpt2 = config.gpt2(tokenizer.vocab_size(), Some(tokenizer.end_of_text()?));
    let device = device.clone().autodiff();
    let run = checkpoint::run_hash(config, tokenizer_hash.as_bytes())?;
    let fresh = || -> Result<State, TrainError> {
        Ok(State {
            step: 0,
            model: number_parameters(init(&gpt2, config.seed, &device)?),
            optimizer: Optimizer::new(&config.optimizer),
        })
    };
    let (found, refused) = checkpoint::load_newest(folder, &run, fresh)?;
    for error in refused {
        observer.message(&format!("{error}; trying the one before it"));
    }
    let mut state = match found {
        Some(state) => {
            observer.message(&format!("resuming after step {}", state.step));
            state
        }
        None => fresh()?,
    };
    let mut last_checkpoint = Instant::now();
    let mut current: Option<(usize, TrainingStream)> = None;
    while let Some((number, stage)) = config.stage(state.step) {
        let stream = match &current {
            Some((n, stream)) if *n == number => stream,
            _ => {
                let stream = TrainingStream::new(tokenizer.clone(), stage.stream.clone())?;
                &current.insert((number, stream)).1
            }
        };
        let started = Instant::now();
        let rate = config.rate(state.step);
        let (grads, losses) = gradients(config, stage, stream, &state)?;
        if !losses.weighted.is_finite() {
            return Err(TrainError::Diverged {
                step: state.step,
                loss: losses.weighted,
            });
        }
        let (grads, gradient_norm) =
            clip_global_norm(&state.model, grads, config.optimizer.clip_norm);
        state.model = state.optimizer.step(state.model, grads, rate);
        state.step += 1;
        let tokens = config.tokens_before(state.step);
        observer.step(&StepReport {
            step: state.step,
            total_steps: config.total_steps(),
            stage: number,
            tokens,
            step_tokens: (stage.rows * stage.stream.window) as u64,
            loss: losses.weighted,
            answer_loss: losses.mean_answer(),
            gradient_norm,
            rate,
            elapsed: started.elapsed(),
        });
        let done = state.step == config.total_steps();
        if done || state.step.is_multiple_of(options.validate_every.max(1)) {
            observer.validate(state.step, &state.model);
        }
        let stop = observer.should_stop();
        if done || stop || last_checkpoint.elapsed() >= options.checkpoint_every {
            checkpoint::save(folder, &state, &run)?;
            last_checkpoint = Instant::now();
        }
        if stop {
            observer.message(&format!(
                "stopped after step {}; run again to go on",
                state.step
            ));
            break;
        }
    }
    Ok(state.model)
}

/// Losses of one step or of a part of it, in nats.
#[derive(Default)]
struct Losses {
    /// Mean over all targets of the step, by their weights.
    weighted: f64,
    /// Sum over the targets that are weighted up: the answers.
    answers: f64,
    /// How many they are.
    answer_count: u64,
}

impl Losses {
    fn add(&mut self, part: &Self) {
        self.weighted += part.weighted;
        self.answers += part.answers;
        self.answer_count += part.answer_count;
    }

    fn mean_answer(&self) -> Option<f64> {
        (self.answer_count > 0).then(|| self.answers / self.answer_count as f64)
    }
}

/// Gradients of the mean loss of one step, and that loss.
fn gradients(
    config: &PretrainConfig,
    stage: &Stage,
    stream: &TrainingStream,
    state: &State,
) -> Result<(GradientsParams, Losses), TrainError> {
    let windows: Vec<TrainWindow> = (0..stage.rows as u64)
        .map(|row| stream.window(state.step, row))
        .collect::<Result<_, _>>()?;
    let total_weight: f64 = windows
        .iter()
        .flat_map(|window| &window.weights)
        .map(|&w| f64::from(w))
        .sum();
    // Micro-batches are computed side by side and summed in their order, whatever the threads.
    let micro_batches: Vec<&[TrainWindow]> = windows.chunks(stage.micro_rows).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut total = None;
    let mut losses = Losses::default();
    for (group, side_by_side) in micro_batches.chunks(threads).enumerate() {
        let results: Vec<Result<(GradientsParams, Losses), TrainError>> =
            std::thread::scope(|scope| {
                let workers: Vec<_> = side_by_side
                    .iter()
                    .enumerate()
                    .map(|(index, rows)| {
                        let micro = (group * threads + index) as u64;
                        let offset = position_offset(config, stage, state.step, micro);
                        // Leaves of its own: graphs that share leaves wait for each other.
                        let model = state.model.valid().train();
                        scope.spawn(move || micro_batch(&model, rows, offset, total_weight))
                    })
                    .collect();
                workers
                    .into_iter()
                    .map(|worker| {
                        worker
                            .join()
                            .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
                    })
                    .collect()
            });
        for result in results {
            let (grads, part) = result?;
            losses.add(&part);
            total = Some(accumulate(&state.model, total, grads));
        }
    }
    Ok((total.unwrap_or_default(), losses))
}

/// Gradients of one micro-batch's share of the step's mean loss, and its losses.
fn micro_batch(
    model: &Gpt2,
    rows: &[TrainWindow],
    offset: usize,
    total_weight: f64,
) -> Result<(GradientsParams, Losses), TrainError> {
    let (hidden, targets) = forward(model, rows, offset)?;
    let weights: Vec<f32> = rows
        .iter()
        .flat_map(|window| window.weights.iter().copied())
        .collect();
    let is_answer: Vec<f32> = weights
        .iter()
        .map(|&w| if w > 1.0 { 1.0 } else { 0.0 })
        .collect();
    let mut losses = Losses {
        answer_count: is_answer.iter().sum::<f32>() as u64,
        ..Losses::default()
    };
    if losses.answer_count > 0 {
        let table = model.output_table().inner();
        let sum = sum_cross_entropy(
            hidden.clone().inner(),
            table,
            targets.clone().inner(),
            is_answer,
        );
        losses.answers = f64::from(sum.into_scalar::<f32>());
    }
    let loss = sum_cross_entropy(hidden, model.output_table(), targets, weights) / total_weight;
    losses.weighted = f64::from(loss.clone().into_scalar::<f32>());
    Ok((GradientsParams::from_grads(loss.backward(), model), losses))
}

/// Where in the position table a micro-batch's windows start.
fn position_offset(config: &PretrainConfig, stage: &Stage, step: u64, micro: u64) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    rng.set_stream(step);
    rng.set_word_pos(u128::from(micro) * 16);
    let room = (config.model.n_positions - stage.stream.window) as u64;
    rng.random_range(0..=room) as usize
}

/// Hidden states after the final norm, `[B·N, n_embd]`, and the targets, `[B·N]`.
fn forward(
    model: &Gpt2,
    windows: &[TrainWindow],
    offset: usize,
) -> Result<(Tensor<2>, Tensor<1, Int>), TrainError> {
    let inputs: Vec<&[u32]> = windows
        .iter()
        .map(|window| &window.ids[..window.ids.len() - 1])
        .collect();
    let batch = TokenBatch::rows(&inputs)?;
    model.check(&batch, offset)?;
    let hidden = model
        .ln_f
        .forward(model.blocks(model.embed(&batch, offset), batch.padding()));
    let [rows, seq_len, size] = hidden.dims();
    let count = rows * seq_len;
    let targets: Vec<i32> = windows
        .iter()
        .flat_map(|window| window.ids[1..].iter().map(|&id| id as i32))
        .collect();
    let targets = Tensor::from_data(TensorData::new(targets, [count]), &model.device());
    Ok((hidden.reshape([count, size]), targets))
}

/// Sum of weight times cross entropy over the targets, in nats. `[1]`
fn sum_cross_entropy(
    hidden: Tensor<2>,
    table: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Vec<f32>,
) -> Tensor<1> {
    let weights = Tensor::from_data(TensorData::new(weights, targets.shape()), &hidden.device());
    bsbr_kernels::linear_cross_entropy(hidden, table, targets, weights)
}
