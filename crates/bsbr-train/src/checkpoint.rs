//! Checkpoints: one file each, whole or not there at all.
//!
//! A checkpoint is a safetensors file with the model's tensors, the optimiser's state as bytes and
//! a header that says what run and step it belongs to. It is written beside its place and renamed.
//! The last two are kept, so that a damaged one does not end a run.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bsbr_gpt2::Gpt2;
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use burn::tensor::TensorData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::config::PretrainConfig;
use crate::error::TrainError;
use crate::optimizer::{Optimizer, number_parameters};

const OPTIMIZER_PARTS: [&str; 3] = [
    "optimizer.matrices",
    "optimizer.positions",
    "optimizer.others",
];

/// Where a run stands.
pub struct State {
    /// Steps made.
    pub step: u64,
    /// The weights.
    pub model: Gpt2,
    /// The optimiser.
    pub optimizer: Optimizer,
}

/// The hash that ties a checkpoint to its run: of the configuration and of the tokenizer.
pub fn run_hash(config: &PretrainConfig, tokenizer: &[u8]) -> Result<String, TrainError> {
    let config = serde_json::to_vec(config).map_err(|e| TrainError::Config {
        setting: "configuration".into(),
        message: e.to_string(),
    })?;
    let mut hash = Sha256::new();
    hash.update(config);
    hash.update(tokenizer);
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Writes the checkpoint of `state` into `folder` and removes all but the last two.
///
/// # Errors
///
/// [`TrainError::Io`] where the folder cannot be written; what was there is then untouched.
pub fn save(folder: &Path, state: &State, run: &str) -> Result<PathBuf, TrainError> {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    visit_tensors(&state.model, |name, data| {
        let shape = data.shape().to_vec();
        tensors.push((
            format!("model.{name}"),
            Dtype::F32,
            shape,
            data.as_bytes().to_vec(),
        ));
    });
    for (name, bytes) in OPTIMIZER_PARTS.iter().zip(state.optimizer.to_bytes()?) {
        tensors.push(((*name).into(), Dtype::U8, vec![bytes.len()], bytes));
    }
    let metadata = HashMap::from([
        ("step".to_string(), state.step.to_string()),
        ("run".to_string(), run.to_string()),
    ]);
    let path = folder.join(format!("step-{:08}.safetensors", state.step));
    let wrong = |message: String| TrainError::Checkpoint {
        path: path.clone(),
        message,
    };
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| wrong(e.to_string()))?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| wrong(e.to_string()))?;
    write_whole(&path, &bytes)?;
    let all = list(folder);
    for old in all.iter().rev().skip(2) {
        fs::remove_file(old).map_err(TrainError::io(old))?;
    }
    Ok(path)
}

/// The newest checkpoint of the run in `folder` that can be read, and what was wrong with newer
/// ones.
///
/// # Errors
///
/// [`TrainError::Checkpoint`] where checkpoints of another run lie in the folder.
pub fn load_newest(
    folder: &Path,
    run: &str,
    fresh: impl Fn() -> Result<State, TrainError>,
) -> Result<(Option<State>, Vec<TrainError>), TrainError> {
    let mut refused = Vec::new();
    for path in list(folder).into_iter().rev() {
        match load(&path, run, fresh()?) {
            Ok(state) => return Ok((Some(state), refused)),
            Err(LoadError::OtherRun) => {
                return Err(TrainError::Checkpoint {
                    path,
                    message: "belongs to a run with other settings or another tokenizer; \
                              choose another folder or remove it"
                        .into(),
                });
            }
            Err(LoadError::Damaged(message)) => {
                refused.push(TrainError::Checkpoint { path, message });
            }
        }
    }
    Ok((None, refused))
}

enum LoadError {
    OtherRun,
    Damaged(String),
}

fn load(path: &Path, run: &str, state: State) -> Result<State, LoadError> {
    let damaged = |message: String| LoadError::Damaged(format!("damaged checkpoint: {message}"));
    let bytes = fs::read(path).map_err(|e| damaged(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if metadata.get("run").map(String::as_str) != Some(run) {
        return Err(LoadError::OtherRun);
    }
    let step = metadata
        .get("step")
        .and_then(|step| step.parse().ok())
        .ok_or_else(|| damaged("no step in its header".into()))?;
    let mut missing = None;
    let model = replace_tensors(state.model, |name, shape| {
        match file.tensor(&format!("model.{name}")) {
            Ok(view) if view.shape() == shape && view.dtype() == Dtype::F32 => {
                let values: Vec<f32> = view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                Some(TensorData::new(values, shape.to_vec()))
            }
            _ => {
                missing = Some(name.to_owned());
                None
            }
        }
    });
    if let Some(name) = missing {
        return Err(damaged(format!(
            "tensor `{name}` is missing or has another shape"
        )));
    }
    let mut parts = [const { Vec::new() }; 3];
    for (part, name) in parts.iter_mut().zip(OPTIMIZER_PARTS) {
        *part = file
            .tensor(name)
            .map_err(|e| damaged(e.to_string()))?
            .data()
            .to_vec();
    }
    let optimizer = state.optimizer.load(parts).map_err(damaged)?;
    Ok(State {
        step,
        model: number_parameters(model),
        optimizer,
    })
}

/// Checkpoints in `folder`, oldest first.
fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("step-") && name.ends_with(".safetensors"))
        })
        .collect();
    paths.sort();
    paths
}

/// Writes a file beside its place and renames it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let beside = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&beside);
        TrainError::Io {
            path: path.to_owned(),
            source,
        }
    })
}
