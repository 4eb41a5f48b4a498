//! Time from the start of a process to the first token, including loading.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bsbr_convert::{FloatType, LoadOptions, SaveOptions, load_model, save_model};
use bsbr_gpt2::{Gpt2, ProductType};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::decoding::{argmax_token, last_logits};
use crate::engines::{FIRST_TOKEN, Kind, Peer};
use crate::error::ReportError;
use crate::experiments::memory::worker::{Worker, answer, status};
use crate::record::Measurement;
use crate::rounds::Case;

/// Tokens of the prompt.
pub const PROMPT: usize = 128;

/// Time from the start of the process to the token, as measured by its parent.
pub const WHOLE: &str = "whole";
/// The same without the time to load the program: Python and its libraries.
pub const LOADED: &str = "loaded";
/// The peak memory of the process.
pub const PEAK: &str = "peak";
/// Size of the checkpoint, in bytes.
pub const FILE: &str = "file";

/// The result of a process; the last line of its standard output, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Seconds until the program and its libraries were loaded.
    pub ready: f64,
    /// Seconds until the token was generated.
    pub first: f64,
    /// The token.
    pub token: u32,
    /// The peak memory of the process, in bytes.
    pub peak: u64,
}

/// Opens a folder in this process, which should do nothing else, and returns the first token
/// after [`PROMPT`] others.
///
/// # Errors
///
/// Why it failed, in words.
pub fn here(folder: &Path, device: &Device) -> Result<Found, String> {
    let start = Instant::now();
    let options = LoadOptions::on(device);
    let loaded = load_model(folder, &options).map_err(|error| error.to_string())?;
    let vocabulary = loaded.config.vocab_size.max(1);
    let ids: Vec<u32> = (0..PROMPT).map(|id| (id % vocabulary) as u32).collect();
    let token = argmax_token(last_logits(&loaded.model, &ids)?)?;
    Ok(Found {
        ready: 0.0,
        first: start.elapsed().as_secs_f64(),
        token,
        peak: status("VmHWM")?,
    })
}

/// The folder of checkpoints, and the command of processes that open them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstToken {
    /// An existing folder, which its creator deletes.
    pub folder: PathBuf,
    /// The command, before the folder of a model.
    pub worker: Worker,
    /// Whether to include a checkpoint with linear layers in 8 bits.
    pub int8: bool,
}

impl FirstToken {
    /// Saves the model in each type. Returns runs of fresh processes that open it: ours, and
    /// Python's if it takes part.
    ///
    /// # Errors
    ///
    /// [`ReportError::Save`] if a checkpoint cannot be written.
    pub(super) fn cases<'a>(
        &self,
        dense: &Gpt2,
        python: Option<&Path>,
    ) -> Result<Vec<Case<'a>>, ReportError> {
        let mut all = Vec::new();
        for (name, dtype, int8) in [
            ("f32", FloatType::F32, false),
            ("f16", FloatType::F16, false),
            ("int8", FloatType::F16, true),
        ] {
            if int8 && !self.int8 {
                continue;
            }
            let folder = self.folder.join(name);
            let options = SaveOptions {
                dtype,
                weights: int8.then_some(ProductType::Int8),
                ..SaveOptions::default()
            };
            save_model(dense, &folder, &options)?;
            let file = folder.join(match int8 {
                false => "model.safetensors",
                true => "model-int8.safetensors",
            });
            let mut ours = Command::new(&self.worker.program);
            ours.args(&self.worker.arguments).arg(&folder);
            all.push(started(format!("dense, {name}"), file.clone(), ours));
            // `transformers` cannot read 8 bits.
            if let Some(python) = python.filter(|_| !int8) {
                let mut torch = Command::new(python);
                torch.args(["-c", FIRST_TOKEN]).arg(&folder);
                torch.arg(PROMPT.to_string());
                torch.arg(rayon::current_num_threads().to_string());
                all.push(started(format!("{}, {name}", Kind::Sdpa.id()), file, torch));
            }
        }
        Ok(all)
    }
}

/// A fresh process in each run.
fn started<'a>(id: String, file: PathBuf, command: Command) -> Case<'a> {
    let command = RefCell::new(command);
    Case::new(id, PROMPT, move |one| {
        set_file(one, || {
            let file = std::fs::metadata(&file).map_err(|error| error.to_string())?;
            Ok(file.len() as f64)
        });
        let start = Instant::now();
        let found: Found = answer(&mut command.borrow_mut(), "", None)?;
        one.set(WHOLE, start.elapsed().as_secs_f64());
        one.set(LOADED, found.first - found.ready);
        one.set(PEAK, found.peak as f64);
        Ok(())
    })
}

/// Another engine's running process, with weights of a type.
pub(super) fn engine<'a>(peer: Peer) -> Case<'a> {
    Case::new(peer.id.clone(), PROMPT, move |one| {
        set_file(one, || peer.ask("file", 0));
        one.set(LOADED, peer.ask("first", PROMPT)?);
        Ok(())
    })
}

/// Sets the size of a checkpoint once.
fn set_file(one: &mut Measurement, size: impl FnOnce() -> Result<f64, String>) {
    if one.index == 0 {
        one.put(FILE, size());
    }
}
