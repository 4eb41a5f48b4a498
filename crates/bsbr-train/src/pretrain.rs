//! Pretraining on storybook, from scratch or from a trained model.

use std::path::Path;
use std::sync::Arc;

use bsbr_attention::ArmConfig;
use bsbr_data::stream::{TrainWindow, TrainingStream};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use burn::module::Module;
use burn::tensor::{DType, Device};

use crate::batch::{language_modelling, machine_threads, total_weight};
use crate::checkpoint::{self, RunIdentity, State, weights_hash};
use crate::config::PretrainConfig;
use crate::error::TrainError;
use crate::init::init;
use crate::observer::{RunOptions, StepReport, TrainingObserver};
use crate::optimizer::{Optimizer, number_parameters};
use crate::parallel::{Executor, MicroBatch};
use crate::positions::Positions;
use crate::recompute::Recompute;
use crate::run::{self, Step, Work};

/// The inputs of a run besides its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The tokenizer of the texts.
    pub tokenizer: &'a TextTokenizer,
    /// A hash of the tokenizer's file.
    pub tokenizer_hash: &'a str,
    /// A trained model of the same configuration, without gradients; otherwise a new one is made.
    pub model: Option<&'a Gpt2>,
}

/// Trains a model from `start`, or resumes from the newest checkpoint in `folder`.
///
/// The data, the position offsets and the updates of a step are pure functions of the
/// configuration and the step, so an interrupted run ends with the weights of an uninterrupted one.
///
/// # Errors
///
/// [`TrainError`] if the settings are invalid, the folder cannot be written, its checkpoints belong
/// to another run, or the loss diverges.
pub fn pretrain(
    config: &PretrainConfig,
    start: Start<'_>,
    folder: &Path,
    device: &Device,
    options: &RunOptions,
    observer: &mut dyn TrainingObserver,
) -> Result<Gpt2, TrainError> {
    config.validate()?;
    let tokenizer = start.tokenizer;
    let gpt2 = config.gpt2(tokenizer.vocab_size(), Some(tokenizer.end_of_text()?));
    gpt2.validate()?;
    let device = device.clone().autodiff();
    if let Some(model) = start.model {
        same_computation(&model.config(), &gpt2)?;
    }
    // It may have been loaded with weights in half precision.
    let begin = start
        .model
        .map(|model| cast_tensors(model.clone(), DType::F32));
    let mut parts = vec![start.tokenizer_hash.to_owned()];
    parts.extend(begin.as_ref().map(weights_hash));
    let weights = parts[1..].concat();
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let begun = start.model.map(Gpt2::config);
    let run = RunIdentity::new(
        checkpoint::run_hash(&(config, &begun), &parts)?,
        vec![
            ("set of settings", checkpoint::run_hash(config, &[])?),
            ("tokenizer", start.tokenizer_hash.to_owned()),
            (
                "model to start from",
                checkpoint::run_hash(&begun, &[weights.as_bytes()])?,
            ),
        ],
    );
    let fresh = || -> Result<State, TrainError> {
        let model = match &begin {
            Some(model) => model.clone().train(),
            None => init(&gpt2, config.seed, &device)?,
        };
        Ok(State::new(
            number_parameters(model),
            Optimizer::pretraining(&config.optimizer),
        ))
    };
    let (state, _lock) = run::resume(folder, &run, fresh, observer)?;
    let mut work = Pretraining {
        config,
        tokenizer,
        validate_every: options.validate_every.max(1),
        recompute: options.recompute,
        executor: Executor::new(&options.devices, None, machine_threads()),
        current: None,
    };
    let (state, _) = run::run(&mut work, state, folder, &run, options, observer)?;
    Ok(state.model)
}

/// Checks that a loaded model computes the same as the configuration of the run.
///
/// Settings that do not affect results in f32 may differ: dropout, which is not used here, the
/// initialisation of weights, token ids and other fields of the file.
fn same_computation(found: &Gpt2Config, expected: &Gpt2Config) -> Result<(), TrainError> {
    let decides = |config: &Gpt2Config| {
        // A run trains dense attention; the name of another arm suffices.
        let mut arms = (0..config.n_layer).map(|layer| config.arm(layer));
        let arm = arms.find(|arm| *arm != ArmConfig::DENSE);
        [
            ("n_positions", config.n_positions.to_string()),
            ("n_embd", config.n_embd.to_string()),
            ("n_layer", config.n_layer.to_string()),
            ("n_head", config.n_head.to_string()),
            ("vocab_size", config.vocab_size.to_string()),
            ("n_inner", config.inner_size().to_string()),
            (
                "activation_function",
                format!("{:?}", config.activation_function),
            ),
            ("layer_norm_epsilon", config.layer_norm_epsilon.to_string()),
            ("scale_attn_weights", config.scale_attn_weights.to_string()),
            (
                "scale_attn_by_inverse_layer_idx",
                config.scale_attn_by_inverse_layer_idx.to_string(),
            ),
            (
                "tie_word_embeddings",
                config.tie_word_embeddings.to_string(),
            ),
            ("arm", arm.unwrap_or(ArmConfig::DENSE).name().to_owned()),
        ]
    };
    let mut pairs = decides(found).into_iter().zip(decides(expected));
    match pairs.find(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(((name, found), (_, expected))) => Err(TrainError::config(
            format!("model.{name}"),
            format!("the model to start from has {found}, expected {expected}"),
        )),
    }
}

struct Pretraining<'a> {
    config: &'a PretrainConfig,
    tokenizer: &'a TextTokenizer,
    validate_every: u64,
    recompute: Recompute,
    executor: Executor,
    /// The current stage's stream, and its number.
    current: Option<(usize, TrainingStream)>,
}

impl Work for Pretraining<'_> {
    fn total_steps(&self) -> u64 {
        self.config.total_steps()
    }

    fn clip_norm(&self) -> f64 {
        self.config.optimizer.clip_norm
    }

    fn step(&mut self, state: &State) -> Result<Step, TrainError> {
        let config = self.config;
        let Some((number, stage)) = config.stage(state.step) else {
            let message = format!("there is none for step {}", state.step);
            return Err(TrainError::config("stages", message));
        };
        let stream = match &self.current {
            Some((n, stream)) if *n == number => stream,
            _ => {
                let stream = TrainingStream::new(self.tokenizer.clone(), stage.stream.clone())?;
                &self.current.insert((number, stream)).1
            }
        };
        let windows: Vec<TrainWindow> = (0..stage.rows as u64)
            .map(|row| stream.window(state.step, row))
            .collect::<Result<_, _>>()?;
        let weight = total_weight(&windows);
        let (positions, window) = (config.model.n_positions, stage.stream.window);
        let micro_rows = stage.micro_rows.max(1);
        let passes = machine_threads().min(stage.rows.div_ceil(micro_rows));
        let at_a_time = passes * micro_rows.min(stage.rows) * window;
        let recompute = self.recompute.applies(&state.model.config(), at_a_time);
        let (seed, step) = (config.seed, state.step);
        let micro_batch: MicroBatch = Arc::new(move |model, _, micro, rows| {
            let at = Positions::random_offset(seed, step, micro, positions, window);
            language_modelling(model, rows, &at, weight, recompute)
        });
        let (grads, losses) =
            self.executor
                .step(&state.model, windows, stage.micro_rows, micro_batch)?;
        Ok(Step {
            grads,
            losses,
            stage: number,
            tokens: config.tokens_before(state.step + 1),
            step_tokens: (stage.rows * stage.stream.window) as u64,
            rate: config.rate(state.step),
        })
    }

    fn after(
        &mut self,
        state: &mut State,
        report: &StepReport,
        observer: &mut dyn TrainingObserver,
    ) -> Result<bool, TrainError> {
        if report.step == report.total_steps || report.step.is_multiple_of(self.validate_every) {
            observer.validate(report.step, &state.model);
        }
        Ok(false)
    }
}
