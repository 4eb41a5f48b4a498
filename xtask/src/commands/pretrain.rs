//! `cargo xtask pretrain`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bsbr_attention::{ArmConfig, LocalConfig};
use bsbr_convert::{Companion, ConversionPlan, FloatType, SaveOptions, convert, save_model};
use bsbr_data::storybook::Split;
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_files::{append_line, write_file};
use bsbr_gpt2::Gpt2;
use bsbr_train::evaluate::{Evaluation, EvaluationSpec, evaluate};
use bsbr_train::{PretrainConfig, RunOptions, Start, StepReport, TrainingObserver};
use burn::module::Module;
use burn_train::Interrupter;
use indicatif::ProgressBar;

use super::choice;
use crate::{assets, device};

/// Train a model on storybook text. The default configuration is the first of the five runs of the
/// bundled model (docs/pretraining.md).
///
/// It trains from scratch, or from a trained model with `--from`. The configuration file determines
/// the run: the same file and backend give the same weights. Checkpoints are written regularly;
/// after Ctrl-C or a kill, the same command resumes from the last one.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration of the run
    #[arg(long, default_value_os_t = assets::path("pretrain/bundled.toml"))]
    config: PathBuf,
    /// Model folder with the initial weights; without it, training starts from scratch. If the
    /// folder has a record of its own training (training.json), the new record includes it
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Folder with the tokenizer of the model
    #[arg(long, default_value_os_t = assets::bundled())]
    tokenizer: PathBuf,
    /// Folder for checkpoints and the log
    #[arg(long, default_value = "results/pretrain/checkpoints")]
    checkpoints: PathBuf,
    /// Output folder for the trained model; it must be empty or not exist
    #[arg(long, default_value = "results/pretrain/model")]
    out: PathBuf,
    /// Element type of the written weights
    #[arg(long, default_value = "f16", value_parser = choice::float())]
    dtype: FloatType,
    /// Minutes between checkpoints
    #[arg(long, default_value = "3", value_parser = super::minutes)]
    checkpoint_minutes: Duration,
    /// Steps between validations
    #[arg(long, default_value_t = 200)]
    validate_every: u64,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

impl Args {
    /// The options of the run.
    fn run_options(&self) -> RunOptions {
        RunOptions {
            checkpoint_every: self.checkpoint_minutes,
            validate_every: self.validate_every,
            ..RunOptions::default()
        }
    }

    /// The options for saving the model.
    fn save_options(&self, companions: Vec<Companion>) -> SaveOptions {
        SaveOptions {
            dtype: self.dtype,
            companions,
            ..SaveOptions::default()
        }
    }

    /// The file of the model's tokenizer.
    fn tokenizer_file(&self) -> PathBuf {
        self.tokenizer.join("tokenizer.json")
    }

    /// The file of the log of steps.
    fn log(&self) -> PathBuf {
        self.checkpoints.join("log.jsonl")
    }
}

/// Step, tokens read, loss and the answers' loss, in nats.
type CurvePoint = (u64, u64, f64, Option<f64>);
/// Number of steps per point of the stored curve.
const CURVE_STEPS: u64 = 10;

/// The record of a run, stored beside its model.
#[derive(serde::Serialize)]
struct TrainingRecord {
    command: String,
    /// The record of the initial model.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<serde_json::Value>,
    config: PretrainConfig,
    tokens: u64,
    /// Means of ten steps each, labelled by their last.
    curve: Vec<CurvePoint>,
    /// On the test split, as trained.
    dense: Evaluation,
    /// On the test split, with only sinks and near field: the result without the far context.
    local: Evaluation,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let device = device::parse(&args.device)?;
    let _lock = super::claim(&args.out)?;
    let text =
        std::fs::read_to_string(&args.config).with_context(|| args.config.display().to_string())?;
    let config: PretrainConfig =
        toml::from_str(&text).with_context(|| args.config.display().to_string())?;
    let tokenizer = TextTokenizer::from_folder(&args.tokenizer)?;
    let tokenizer_file = args.tokenizer_file();
    let hash = std::fs::read_to_string(&tokenizer_file)
        .with_context(|| tokenizer_file.display().to_string())?;
    let stop = super::interrupter()?;
    let mut progress = Progress::new(
        stop.clone(),
        tokenizer.clone(),
        spec(&config, Split::Validation, VALIDATION_QUESTIONS),
        args.log(),
    );
    let from = match &args.from {
        None => None,
        Some(folder) => Some((
            super::model::open(folder, &device, Some(FloatType::F32), false)?.model,
            read_record(folder)?,
        )),
    };
    let model: Gpt2 = bsbr_train::pretrain(
        &config,
        Start {
            tokenizer: &tokenizer,
            tokenizer_hash: &hash,
            model: from.as_ref().map(|(model, _)| model),
        },
        &args.checkpoints,
        &device,
        &args.run_options(),
        &mut progress,
    )?;
    if stop.should_stop() {
        return Ok(());
    }
    progress.message("measuring the model on the test split");
    let model = model.valid();
    let test = spec(&config, Split::Test, TEST_QUESTIONS);
    let dense = evaluate(&model, &tokenizer, &test)?;
    let plan = ConversionPlan::uniform(ArmConfig::Local(LocalConfig::default()));
    let local = evaluate(&convert(model.clone(), &plan)?, &tokenizer, &test)?;
    let record = TrainingRecord {
        command: super::command_line(),
        from: from.and_then(|(_, record)| record),
        tokens: config.tokens_before(config.total_steps()),
        curve: progress.curve()?,
        config,
        dense,
        local,
    };
    // The folder is written atomically, including its record.
    let path = args.checkpoints.join(RECORD);
    write_file(&path, serde_json::to_string_pretty(&record)?.as_bytes())?;
    let options = args.save_options(vec![tokenizer_file.into(), path.into()]);
    save_model(&model, &args.out, &options)
        .with_context(|| format!("writing {}", args.out.display()))?;
    println!("{}", args.out.display());
    Ok(())
}

/// The file of a run's record, beside the model.
const RECORD: &str = "training.json";

/// `None` for a model without such a record.
fn read_record(folder: &Path) -> Result<Option<serde_json::Value>> {
    let path = folder.join(RECORD);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Questions per distance during training.
const VALIDATION_QUESTIONS: u64 = 20;
/// Questions per distance for the trained model.
const TEST_QUESTIONS: u64 = 200;

fn spec(config: &PretrainConfig, split: Split, questions: u64) -> EvaluationSpec {
    EvaluationSpec {
        seed: config.seed,
        split,
        texts_per_domain: questions / 10,
        words_per_text: 500,
        distances: vec![0, 600, 1700],
        questions,
        num_candidates: 20,
    }
}

/// A progress bar on a terminal, otherwise lines; the curve always goes to a file.
struct Progress {
    bar: ProgressBar,
    stop: Interrupter,
    tokenizer: TextTokenizer,
    validation: EvaluationSpec,
    log: PathBuf,
    loss: Running,
    answers: Running,
    since: Instant,
    tokens: u64,
}

/// An exponentially weighted mean.
struct Running(f64);

impl Running {
    fn add(&mut self, value: f64) {
        self.0 = if self.0.is_nan() {
            value
        } else {
            0.95 * self.0 + 0.05 * value
        };
    }
}

/// The mean; `None` for an empty slice.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Progress {
    fn new(
        stop: Interrupter,
        tokenizer: TextTokenizer,
        validation: EvaluationSpec,
        log: PathBuf,
    ) -> Self {
        Self {
            bar: super::bar(0, "{bar:30} {pos}/{len} steps, {eta} left, {msg}"),
            stop,
            tokenizer,
            validation,
            log,
            loss: Running(f64::NAN),
            answers: Running(f64::NAN),
            since: Instant::now(),
            tokens: 0,
        }
    }

    /// The curve so far in the file; steps repeated after a resume count once.
    fn curve(&self) -> Result<Vec<CurvePoint>> {
        let text =
            std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        let steps: BTreeMap<u64, CurvePoint> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .map(|point: CurvePoint| (point.0, point))
            .collect();
        let steps: Vec<CurvePoint> = steps.into_values().collect();
        Ok(steps
            .chunk_by(|a, b| (a.0 - 1) / CURVE_STEPS == (b.0 - 1) / CURVE_STEPS)
            .filter_map(|group| {
                let (step, tokens, ..) = *group.last()?;
                let answers: Vec<f64> = group.iter().filter_map(|point| point.3).collect();
                let losses: Vec<f64> = group.iter().map(|point| point.2).collect();
                Some((step, tokens, mean(&losses)?, mean(&answers)))
            })
            .collect())
    }

    /// Adds a step to the log.
    fn log(&self, report: &StepReport) -> Result<()> {
        let point: CurvePoint = (report.step, report.tokens, report.loss, report.answer_loss);
        Ok(append_line(&self.log, &serde_json::to_string(&point)?)?)
    }
}

impl TrainingObserver for Progress {
    fn step(&mut self, report: &StepReport) {
        self.loss.add(report.loss);
        if let Some(loss) = report.answer_loss {
            self.answers.add(loss);
        }
        self.tokens += report.step_tokens;
        let speed = self.tokens as f64 / self.since.elapsed().as_secs_f64();
        let text = format!(
            "stage {}, {:.2} M tokens, loss {:.3}, answers {:.3}, gradient {:.2}, {:.0} tokens/s",
            report.stage,
            report.tokens as f64 / 1e6,
            self.loss.0,
            self.answers.0,
            report.gradient_norm,
            speed
        );
        self.bar.set_length(report.total_steps);
        self.bar.set_position(report.step);
        self.bar.set_message(text.clone());
        if let Err(error) = self.log(report) {
            self.message(&error.to_string());
        }
        if !report.step.is_multiple_of(10) {
            return;
        }
        (self.since, self.tokens) = (Instant::now(), 0);
        if self.bar.is_hidden() {
            super::report(&format!(
                "step {}/{}: {text}",
                report.step, report.total_steps
            ));
        }
    }

    fn message(&mut self, text: &str) {
        self.bar.suspend(|| super::report(text));
    }

    fn validate(&mut self, step: u64, model: &Gpt2) {
        let text = match evaluate(&model.valid(), &self.tokenizer, &self.validation) {
            Err(error) => format!("validation after step {step}: {error}"),
            Ok(found) => found.qa.iter().fold(
                format!(
                    "validation after step {step}: perplexity {:.2}",
                    found.perplexity
                ),
                |text, qa| {
                    format!(
                        "{text}; {:.0} tokens back: {} of {} questions, {} word for word",
                        qa.mean_distance_tokens, qa.among_candidates, qa.questions, qa.exact
                    )
                },
            ),
        };
        self.message(&text);
    }

    fn should_stop(&self) -> bool {
        self.stop.should_stop()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::options;

    pub fn every_option_counts() {
        options::check(&[""], |args: &Args| {
            format!(
                "{:?} {:?} {:?} {:?} {:?}",
                (&args.config, &args.from, &args.out, &args.device),
                (&args.checkpoints, args.log()),
                args.tokenizer_file(),
                args.run_options(),
                args.save_options(Vec::new()),
            )
        });
    }
}
