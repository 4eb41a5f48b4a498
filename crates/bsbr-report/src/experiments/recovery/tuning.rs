//! A fine-tuned model: trained once, stored in a folder, and resumed after an interruption.

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

/// The maximum loss of training time after a kill.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);

/// The model of a finished training.
const MODEL: &str = "model";

/// Its curves, written last.
const HISTORY: &str = "history.json";

/// Why a training cannot finish.
const FAILURE: &str = "failure.txt";

/// A tuned arm.
pub(super) struct Tuned {
    folder: PathBuf,
    device: Device,
    /// The curves.
    pub history: History,
    /// Windows per epoch.
    pub windows: u64,
}

impl Tuned {
    /// The model, or why it is missing.
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
    /// The folder of this training: its name contains the hash of everything that determines
    /// the result.
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

    /// The model, trained if it does not exist; the inner error says why training cannot
    /// finish.
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

    /// Trains, or resumes from the last checkpoint.
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
        // Checkpoints are several times larger than the final files.
        std::fs::remove_dir_all(&checkpoints).map_err(|source| ReportError::Write {
            path: checkpoints,
            source,
        })?;
        Ok(Ok(()))
    }
}

/// Progress is reported by units, not by steps.
struct Nobody;

impl Observer for Nobody {
    fn step(&mut self, _: &StepReport) {}

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, _: u64, _: &Gpt2) {}
}
