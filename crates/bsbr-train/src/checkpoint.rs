//! Checkpoints: single files, written atomically.
//!
//! A checkpoint is a safetensors file with the model's tensors, the optimiser's state as bytes, and
//! a header with the run, the step, and a hash of header and contents. It is written under a
//! temporary name and renamed. The last two are kept, so a damaged one does not end a run.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bsbr_files::write_file;
use bsbr_gpt2::Gpt2;
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use burn::module::Module;
use burn::tensor::TensorData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::TrainError;
use crate::optimizer::{Optimizer, number_parameters};

/// The name of a run's history in a checkpoint.
const HISTORY: &str = "history";
/// The version of the format. The first version had none, and hashed only the tensors.
const VERSION: &str = "2";
/// The key of the hash in a header.
const SUM: &str = "sha256";

/// The state of a run.
pub struct State {
    /// The number of finished steps.
    pub step: u64,
    /// The weights.
    pub model: Gpt2,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The run's own notes; the loop stores them without reading them.
    pub history: Vec<u8>,
    /// Whether the run has ended.
    pub ended: bool,
}

impl State {
    /// A run before its first step.
    pub fn new(model: Gpt2, optimizer: Optimizer) -> Self {
        Self {
            step: 0,
            model,
            optimizer,
            history: Vec::new(),
            ended: false,
        }
    }
}

/// The hash that binds a checkpoint to its run: of the configuration and of everything else that
/// determines the run.
pub fn run_hash(config: &impl Serialize, rest: &[&[u8]]) -> Result<String, TrainError> {
    let config = serde_json::to_vec(config).map_err(|e| TrainError::config("configuration", e))?;
    let mut hash = Sha256::new();
    hash.update(config);
    for part in rest {
        hash.update(part);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// What determines a run; it does not resume from a checkpoint of another.
#[derive(Debug, Clone)]
pub struct RunIdentity {
    /// Hash of all of it.
    hash: String,
    /// The hashes of its named parts, to report which one has changed.
    parts: Vec<(&'static str, String)>,
}

impl RunIdentity {
    /// A run with this hash of the whole, see [`run_hash`].
    pub fn new(hash: String, parts: Vec<(&'static str, String)>) -> Self {
        Self { hash, parts }
    }

    /// The names of the parts that differ from a checkpoint's, as text.
    fn changed(&self, metadata: &HashMap<String, String>) -> String {
        let differs = |(name, own): &&(&str, String)| {
            let found = metadata.get(&part_key(name));
            found.is_some_and(|found| found != own)
        };
        let changed: Vec<&str> = self.parts.iter().filter(differs).map(|one| one.0).collect();
        match changed.as_slice() {
            // Older checkpoints have no hashes of parts.
            [] => "other settings, data, model or tokenizer".to_owned(),
            names => format!("another {}", names.join(" and another ")),
        }
    }
}

/// The key of a part's hash in a header.
fn part_key(name: &str) -> String {
    format!("run, {name}")
}

/// Hash of a model's weights.
pub(crate) fn weights_hash(model: &Gpt2) -> String {
    let mut hash = Sha256::new();
    visit_tensors(model, |name, data| {
        hash.update(name);
        hash.update(data.as_bytes());
    });
    format!("{:x}", hash.finalize())
}

/// Writes the checkpoint of `state` into `folder` and removes all but the last two.
///
/// Checkpoints of later steps are removed first. They were refused, or belong to steps that are
/// repeated, and must not replace the new ones.
///
/// # Errors
///
/// [`TrainError::Output`] if the folder cannot be written; its files are then unchanged.
pub fn save(folder: &Path, state: &State, run: &RunIdentity) -> Result<PathBuf, TrainError> {
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
    let names = state.optimizer.names().into_iter();
    for (name, bytes) in names.zip(state.optimizer.to_bytes()?) {
        tensors.push((name, Dtype::U8, vec![bytes.len()], bytes));
    }
    let history = state.history.clone();
    tensors.push((HISTORY.into(), Dtype::U8, vec![history.len()], history));
    let mut metadata = HashMap::from([
        ("version".to_string(), VERSION.to_string()),
        ("step".to_string(), state.step.to_string()),
        ("run".to_string(), run.hash.clone()),
        ("ended".to_string(), state.ended.to_string()),
    ]);
    for (name, hash) in &run.parts {
        metadata.insert(part_key(name), hash.clone());
    }
    let sum = checksum(
        &metadata,
        tensors
            .iter()
            .map(|(name, _, _, bytes)| (name.as_str(), &bytes[..])),
    );
    metadata.insert(SUM.to_string(), sum);
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
    write_file(&path, &bytes)?;
    let all = list(folder).into_iter();
    let (until_now, later): (Vec<_>, Vec<_>) = all.partition(|(step, _)| *step <= state.step);
    let older = until_now.into_iter().rev().skip(2);
    for (_, old) in later.into_iter().chain(older) {
        fs::remove_file(&old).map_err(TrainError::io(&old))?;
    }
    Ok(path)
}

/// The newest readable checkpoint of the run in `folder`, and the errors of newer ones.
///
/// # Errors
///
/// [`TrainError::Checkpoint`] if the folder contains checkpoints of another run or another version
/// of the format.
pub fn load_newest(
    folder: &Path,
    run: &RunIdentity,
    fresh: impl Fn() -> Result<State, TrainError>,
) -> Result<(Option<State>, Vec<TrainError>), TrainError> {
    let mut refused = Vec::new();
    for (_, path) in list(folder).into_iter().rev() {
        match load(&path, run, fresh()?) {
            Ok(state) => return Ok((Some(state), refused)),
            Err(LoadError::Other(message)) => {
                return Err(TrainError::Checkpoint { path, message });
            }
            Err(LoadError::Damaged(message)) => {
                refused.push(TrainError::Checkpoint { path, message });
            }
        }
    }
    Ok((None, refused))
}

enum LoadError {
    /// A checkpoint of another run, or of another version of the format.
    Other(String),
    Damaged(String),
}

fn load(path: &Path, run: &RunIdentity, state: State) -> Result<State, LoadError> {
    let damaged = |message: String| LoadError::Damaged(format!("damaged checkpoint: {message}"));
    let bytes = fs::read(path).map_err(|e| damaged(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let tensors = file.tensors();
    let found = checksum(
        &metadata,
        tensors
            .iter()
            .map(|(name, view)| (name.as_str(), view.data())),
    );
    // Checked before anything in the header is used.
    if metadata.get(SUM) != Some(&found) {
        return Err(match metadata.contains_key("version") {
            true => damaged("its checksum differs from its content".into()),
            false => LoadError::Other(
                "was written by an earlier version of the program; choose another folder, or \
                 remove it"
                    .into(),
            ),
        });
    }
    if metadata.get("run") != Some(&run.hash) {
        return Err(LoadError::Other(format!(
            "belongs to a run with {}; use those of that run, choose another folder, or remove it",
            run.changed(&metadata)
        )));
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
    let bytes_of = |name: &str| {
        let view = file.tensor(name).map_err(|e| damaged(e.to_string()))?;
        Ok(view.data().to_vec())
    };
    let states = state
        .optimizer
        .names()
        .iter()
        .map(|name| bytes_of(name))
        .collect::<Result<_, LoadError>>()?;
    Ok(State {
        step,
        model: number_parameters(model),
        optimizer: state.optimizer.load(states).map_err(damaged)?,
        history: bytes_of(HISTORY)?,
        ended: metadata.get("ended").is_some_and(|ended| ended == "true"),
    })
}

/// The hash of a header, without the hash in it, and of named bytes, independent of their order.
fn checksum<'a>(
    header: &HashMap<String, String>,
    tensors: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> String {
    let mut header: Vec<_> = header.iter().filter(|(key, _)| *key != SUM).collect();
    header.sort_unstable();
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_unstable();
    let mut hash = Sha256::new();
    // Each part is hashed with its length, so no byte can move from one part to the next.
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    for (key, value) in header {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for (name, bytes) in tensors {
        add(name.as_bytes());
        add(bytes);
    }
    format!("{:x}", hash.finalize())
}

/// The additional bytes that the checkpoints of a run may need in `folder`: two, and a third while
/// it is written.
pub(crate) fn bytes_to_come(folder: &Path, model: &Gpt2) -> u64 {
    // Weights and two moments of each.
    let one = 12 * model.num_params() as u64;
    one * (3 - list(folder).len().min(2) as u64)
}

/// Checkpoints in `folder` with the steps in their names, oldest first.
fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let step = |path: &Path| -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
        step.parse().ok()
    };
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| Some((step(&path)?, path)))
        .collect();
    found.sort();
    found
}
