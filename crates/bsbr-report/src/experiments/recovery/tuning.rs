//! Fine-tuned models: made once, kept in a folder, and made further where a run was ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bsbr_convert::{FloatType, LoadOptions, SaveOptions, load_model, save_model};
use bsbr_gpt2::Gpt2;
use bsbr_train::finetune::{Dataset, FinetuneConfig, History, finetune};
use bsbr_train::{Observer, RunOptions, StepReport, TrainError};
use burn::tensor::Device;

use crate::error::ReportError;
use crate::experiments::recovery::VERSION;
use crate::hash;
use crate::lab::Lab;
use crate::spec::{ArmSpec, read};
use crate::store::write_whole;

/// How much of a training is lost when it is killed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

/// The curves of a training that ended.
const HISTORY: &str = "history.json";

/// Why a training cannot end.
const FAILURE: &str = "failure.txt";

/// An arm that was tuned.
pub(super) struct Tuned {
    folder: PathBuf,
    device: Device,
    /// The curves.
    pub history: History,
    /// Windows of an epoch.
    pub windows: u64,
}

impl Tuned {
    /// The model after some epochs, or why it cannot be had.
    pub fn after(&self, epochs: u64) -> Result<Gpt2, String> {
        let options = LoadOptions {
            dtype: Some(FloatType::F32),
            ..LoadOptions::on(&self.device)
        };
        load_model(place(&self.folder, epochs), &options)
            .map(|loaded| loaded.model)
            .map_err(|error| error.to_string())
    }
}

/// The training of one arm.
pub(super) struct Tuning<'a> {
    config: FinetuneConfig,
    data: &'a Dataset,
    /// Of this training alone: its name has the hash of all that decides what comes out.
    folder: PathBuf,
}

impl<'a> Tuning<'a> {
    pub fn new(
        config: FinetuneConfig,
        arm: &ArmSpec,
        data: &'a Dataset,
        lab: &Lab,
    ) -> Result<Self, ReportError> {
        let decides = serde_json::to_vec(&(
            (VERSION, &config, &arm.config),
            (lab.model_hash(), lab.data_hash(), data.hash()),
            (lab.device_name(), lab.dtype()),
        ))?;
        let hash = hash::of_bytes(&decides);
        let name = format!("{}-{}", arm.id, hash.get(..16).unwrap_or(&hash));
        Ok(Self {
            config,
            data,
            folder: lab.models_folder()?.join(name),
        })
    }

    /// The models after each of `epochs`, trained where they are not there; within, why training
    /// cannot end.
    pub fn run(&self, start: Gpt2, epochs: &[u64]) -> Result<Result<Tuned, String>, ReportError> {
        let failure = self.folder.join(FAILURE);
        if failure.is_file() {
            return Ok(Err(read(&failure)?));
        }
        let device = start.device();
        let there = |&epochs: &u64| epochs == 0 || place(&self.folder, epochs).is_dir();
        let whole = self.folder.join(HISTORY).is_file() && epochs.iter().all(there);
        if !whole && let Err(reason) = self.train(start, epochs)? {
            write_whole(&failure, reason.as_bytes())?;
            return Ok(Err(reason));
        }
        let path = self.folder.join(HISTORY);
        let history = serde_json::from_str(&read(&path)?);
        Ok(Ok(Tuned {
            history: history.map_err(|error| ReportError::Record {
                path,
                message: error.to_string(),
            })?,
            folder: self.folder.clone(),
            device,
            windows: self.data.windows(),
        }))
    }

    /// Trains, or goes on from the last checkpoint.
    fn train(&self, start: Gpt2, epochs: &[u64]) -> Result<Result<(), String>, ReportError> {
        let checkpoints = self.folder.join("checkpoints");
        let options = RunOptions {
            checkpoint_every: CHECKPOINT_EVERY,
            ..RunOptions::default()
        };
        let mut keeper = Keeper {
            folder: &self.folder,
            epochs,
            steps: self.data.steps(self.config.rows()),
            failed: None,
        };
        let ended = finetune(
            &self.config,
            start,
            None,
            self.data,
            &checkpoints,
            &options,
            &mut keeper,
        );
        if let Some(error) = keeper.failed {
            return Err(error);
        }
        let history = match ended {
            Ok(tuned) => tuned.history,
            Err(error @ (TrainError::Diverged { .. } | TrainError::Gradients { .. })) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let history = serde_json::to_vec_pretty(&history)?;
        write_whole(&self.folder.join(HISTORY), &history)?;
        // They are several times the size of what is kept.
        std::fs::remove_dir_all(&checkpoints).map_err(|source| ReportError::Write {
            path: checkpoints,
            source,
        })?;
        Ok(Ok(()))
    }
}

/// Where the model after some epochs is kept.
fn place(folder: &Path, epochs: u64) -> PathBuf {
    folder.join(format!("epochs-{epochs:03}"))
}

/// Keeps the models that are asked for as training comes by.
struct Keeper<'a> {
    folder: &'a Path,
    epochs: &'a [u64],
    /// Steps of an epoch.
    steps: u64,
    failed: Option<ReportError>,
}

impl Observer for Keeper<'_> {
    fn step(&mut self, _: &StepReport) {}

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, step: u64, model: &Gpt2) {
        let epochs = step / self.steps.max(1);
        let out = place(self.folder, epochs);
        // A run that goes on may come by again, with the same weights.
        if self.epochs.contains(&epochs)
            && !out.is_dir()
            && let Err(error) = save_model(model, &out, &SaveOptions::default())
        {
            self.failed = Some(error.into());
        }
    }

    fn should_stop(&self) -> bool {
        self.failed.is_some()
    }
}
