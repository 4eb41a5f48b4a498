//! A fine-tuned model: made once, kept in a folder, and made further where its run was ended.

use std::path::PathBuf;
use std::time::Duration;

use bsbr_convert::{FloatType, LoadOptions, SaveOptions, load_model, save_model};
use bsbr_files::write_file;
use bsbr_gpt2::Gpt2;
use bsbr_train::finetune::{Dataset, FinetuneConfig, History, finetune};
use bsbr_train::{Observer, RunOptions, StepReport, TrainError};
use burn::tensor::Device;

use crate::error::ReportError;
use crate::experiments::recovery::VERSION;
use crate::hash;
use crate::lab::Lab;
use crate::spec::{ArmSpec, read};

/// How much of a training is lost when it is killed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

/// The model of a training that ended.
const MODEL: &str = "model";

/// Its curves, written last.
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
    /// The model, or why it cannot be had.
    pub fn model(&self) -> Result<Gpt2, String> {
        let options = LoadOptions {
            dtype: Some(FloatType::F32),
            ..LoadOptions::on(&self.device)
        };
        load_model(self.folder.join(MODEL), &options)
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
        let hash = hash.get(..16).unwrap_or(&hash);
        let name = format!("{}-{:03}-{hash}", arm.id, config.epochs);
        Ok(Self {
            config,
            data,
            folder: lab.models_folder()?.join(name),
        })
    }

    /// The model, trained where it is not there; within, why training cannot end.
    pub fn run(&self, start: Gpt2) -> Result<Result<Tuned, String>, ReportError> {
        let failure = self.folder.join(FAILURE);
        if failure.is_file() {
            return Ok(Err(read(&failure)?));
        }
        let device = start.device();
        let path = self.folder.join(HISTORY);
        if !(path.is_file() && self.folder.join(MODEL).is_dir())
            && let Err(reason) = self.train(start)?
        {
            write_file(&failure, reason.as_bytes())?;
            return Ok(Err(reason));
        }
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
    fn train(&self, start: Gpt2) -> Result<Result<(), String>, ReportError> {
        let checkpoints = self.folder.join("checkpoints");
        let options = RunOptions {
            checkpoint_every: CHECKPOINT_EVERY,
            ..RunOptions::default()
        };
        let ended = finetune(
            &self.config,
            start,
            None,
            self.data,
            &checkpoints,
            &options,
            &mut Nobody,
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
        let history = serde_json::to_vec_pretty(&tuned.history)?;
        write_file(&self.folder.join(HISTORY), &history)?;
        // They are several times the size of what is kept.
        std::fs::remove_dir_all(&checkpoints).map_err(|source| ReportError::Write {
            path: checkpoints,
            source,
        })?;
        Ok(Ok(()))
    }
}

/// Whoever runs the experiment is told of units, not of steps.
struct Nobody;

impl Observer for Nobody {
    fn step(&mut self, _: &StepReport) {}

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, _: u64, _: &Gpt2) {}
}
