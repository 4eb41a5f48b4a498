//! A fine-tuned model: trained once, stored in a folder, and resumed after an interruption.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bsbr_convert::{SaveOptions, save_model};
use bsbr_files::write_file;
use bsbr_train::config::AdamW;
use bsbr_train::finetune::{Dataset, FinetuneConfig, History, finetune};
use bsbr_train::{RunOptions, StepReport, TrainError, TrainingObserver};
use burn::tensor::Device;
use serde::Serialize;

use crate::experiments::measure::Named;
use crate::experiments::prelude::*;
use crate::hash;
use crate::spec::read;

/// The source of data about a training itself.
pub(super) const TRAINING: &str = "fine-tuning";

/// The maximum loss of training time after a kill.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

/// The model of a finished training.
const MODEL: &str = "model";

/// Its curves, written last.
const HISTORY: &str = "history.json";

/// The seconds of all steps, written before the curves.
const SECONDS: &str = "seconds.txt";

/// Why a training cannot finish.
const FAILURE: &str = "failure.txt";

/// A training with AdamW up to this learning rate, of `rows` windows per step.
pub(super) fn training(seed: u64, learning_rate: f64, rows: usize) -> FinetuneConfig {
    FinetuneConfig {
        seed,
        optimizer: AdamW {
            learning_rate,
            ..AdamW::default()
        },
        grad_accumulation: rows,
        ..FinetuneConfig::default()
    }
}

/// Tokens per training window in these records; `wanted` if nothing is recorded.
pub(super) fn window(records: &Records, wanted: usize) -> usize {
    let mut all = records.measurements();
    let trained = all.find(|one| one.source == TRAINING);
    trained.map_or(wanted, |one| one.length)
}

/// The models of the most recent arm.
#[derive(Debug, Default)]
pub struct Kept(RefCell<Option<(String, Rc<[Named]>)>>);

impl Kept {
    /// The models of an arm, made by `make` unless they are those of the last call.
    pub(super) fn of(
        &self,
        arm: &str,
        make: impl FnOnce() -> Result<Vec<Named>, ReportError>,
    ) -> Result<Rc<[Named]>, ReportError> {
        if let Some((known, models)) = &*self.0.borrow()
            && known == arm
        {
            return Ok(models.clone());
        }
        let models: Rc<[Named]> = make()?.into();
        *self.0.borrow_mut() = Some((arm.to_owned(), models.clone()));
        Ok(models)
    }
}

/// A tuned arm.
pub(in crate::experiments) struct Tuned {
    folder: PathBuf,
    device: Device,
    /// The curves.
    pub history: History,
    /// Windows per epoch.
    pub windows: u64,
    /// Seconds of all steps; steps before an interruption count as long as those after it.
    pub seconds: f64,
}

impl Tuned {
    /// The model, or why it is missing.
    pub fn model(&self) -> Result<Gpt2, String> {
        let loaded = arms::load(&self.folder.join(MODEL), &self.device);
        loaded.map_err(|error| error.to_string())
    }
}

/// The training of one model.
pub(super) struct Tuning<'a> {
    config: FinetuneConfig,
    data: &'a Dataset,
    /// The folder of this training: its name contains the hash of everything that determines
    /// the result.
    folder: PathBuf,
}

impl<'a> Tuning<'a> {
    /// The training of a model derived from the lab's; `name` is the prefix of the folder's
    /// name, and `version` and `start` describe how the initial model was made.
    pub fn new(
        config: FinetuneConfig,
        (name, version, start): (&str, u32, &impl Serialize),
        data: &'a Dataset,
        lab: &Lab,
    ) -> Result<Self, ReportError> {
        let decides = serde_json::to_vec(&(
            (version, &config, start),
            (lab.model_hash(), lab.corpus().hash(), data.hash()),
            (&lab.device_name, lab.dtype()),
        ))?;
        let hash = hash::of_bytes(&decides);
        let hash = hash.get(..16).unwrap_or(&hash);
        Ok(Self {
            config,
            data,
            folder: lab.models_folder()?.join(format!("{name}-{hash}")),
        })
    }

    /// The model, trained if it does not exist; the inner error says why training cannot finish.
    /// Some objectives learn from the output of `original`.
    pub fn run(&self, start: Gpt2, original: Option<&Gpt2>) -> Tried<Tuned> {
        let failure = self.folder.join(FAILURE);
        if failure.is_file() {
            return Ok(Err(read(&failure)?));
        }
        let device = start.device();
        let path = self.folder.join(HISTORY);
        if !(path.is_file() && self.folder.join(MODEL).is_dir())
            && let Err(reason) = self.train(start, original)?
        {
            write_file(&failure, reason.as_bytes())?;
            return Ok(Err(reason));
        }
        let history = serde_json::from_str(&read(&path)?);
        let seconds = std::fs::read_to_string(self.folder.join(SECONDS)).ok();
        let seconds = seconds.and_then(|text| text.parse().ok());
        Ok(Ok(Tuned {
            history: history.map_err(|error| ReportError::Record {
                path,
                message: error.to_string(),
            })?,
            folder: self.folder.clone(),
            device,
            windows: self.data.windows(),
            // Older models have no recorded seconds.
            seconds: seconds.unwrap_or(f64::NAN),
        }))
    }

    /// Trains, or resumes from the last checkpoint.
    fn train(&self, start: Gpt2, original: Option<&Gpt2>) -> Tried<()> {
        let checkpoints = self.folder.join("checkpoints");
        let options = RunOptions {
            checkpoint_every: CHECKPOINT_EVERY,
            ..RunOptions::default()
        };
        let mut clock = Clock::default();
        let ended = finetune(
            &self.config,
            start,
            original.filter(|_| self.config.needs_original()),
            self.data,
            &checkpoints,
            &options,
            &mut clock,
        );
        let tuned = match ended {
            Ok(tuned) => tuned,
            Err(error @ (TrainError::Diverged { .. } | TrainError::Gradients { .. })) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let model = self.folder.join(MODEL);
        // A run that ended before its curves were written has left the same weights.
        if !model.is_dir() {
            save_model(&tuned.model, &model, &SaveOptions::default())?;
        }
        let seconds = format!("{:.3}", clock.seconds());
        write_file(&self.folder.join(SECONDS), seconds.as_bytes())?;
        let history = serde_json::to_vec_pretty(&tuned.history)?;
        write_file(&self.folder.join(HISTORY), &history)?;
        // Checkpoints are several times larger than the final files.
        let removed = std::fs::remove_dir_all(&checkpoints);
        removed.map_err(ReportError::writing(&checkpoints))?;
        Ok(Ok(()))
    }
}

/// Measures the time of steps. Progress is reported by units, not by steps.
#[derive(Default)]
struct Clock {
    elapsed: Duration,
    made: u64,
    of: u64,
}

impl Clock {
    /// Seconds of all steps, at the speed of the steps of this process.
    fn seconds(&self) -> f64 {
        self.elapsed.as_secs_f64() * self.of as f64 / self.made as f64
    }
}

impl TrainingObserver for Clock {
    fn step(&mut self, report: &StepReport) {
        self.elapsed += report.elapsed;
        self.made += 1;
        self.of = report.total_steps;
    }

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, _: u64, _: &Gpt2) {}
}
