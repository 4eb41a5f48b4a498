//! Time from the start of a process to the first token, including loading.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use bsbr_convert::{FloatType, LoadOptions, SaveOptions, load_model, save_model};
use bsbr_gpt2::{Gpt2, ProductType, TokenBatch};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::bench::Scope;
use crate::error::ReportError;
use crate::experiments::memory::worker::status;
use crate::reading::likeliest;
use crate::record::Measurement;
use crate::rounds::{Contestant, Outcome, Run};
use crate::torch::{Baseline, FIRST_TOKEN, Kind};

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
    /// Seconds until the model was loaded.
    pub loaded: f64,
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
    let ready = start.elapsed().as_secs_f64();
    let vocabulary = loaded.config.vocab_size.max(1);
    let ids: Vec<u32> = (0..PROMPT).map(|id| (id % vocabulary) as u32).collect();
    let token = first(&loaded.model, &ids)?;
    Ok(Found {
        ready: 0.0,
        loaded: ready,
        first: start.elapsed().as_secs_f64(),
        token,
        peak: status("VmHWM")?,
    })
}

fn first(model: &Gpt2, ids: &[u32]) -> Result<u32, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    let hidden = model
        .hidden_states(&batch)
        .map_err(|error| error.to_string())?;
    likeliest(model.last_logits(hidden))
}

/// Another engine with a weight type: its row, the type and its process.
pub(super) type Engine = (String, ProductType, Result<Rc<Baseline>, String>);

/// The folder of checkpoints, and the command of processes that open them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstToken {
    /// An existing folder, which its creator deletes.
    pub folder: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// Its arguments, before the folder of a model.
    pub arguments: Vec<String>,
    /// Whether to include a checkpoint with linear layers in 8 bits.
    pub int8: bool,
}

impl FirstToken {
    /// Saves the model in each type. Returns the sizes of files, and runs of fresh processes that
    /// open them.
    ///
    /// # Errors
    ///
    /// [`ReportError::Save`] if a checkpoint cannot be written.
    pub(super) fn contestants<'a>(
        &self,
        dense: &Gpt2,
        python: Option<&Path>,
        engines: Vec<Engine>,
    ) -> Result<(Vec<Measurement>, Vec<Contestant<'a, First>>), ReportError> {
        let mut files = Vec::new();
        let mut add_file = |who: &str, bytes: Result<f64, String>| {
            let mut measured = Measurement::new(who, Scope::FirstToken.id(), PROMPT, 0);
            measured.put(FILE, bytes);
            files.push(measured);
        };
        let mut all = Vec::new();
        let floats = [
            ("f32", FloatType::F32, false),
            ("f16", FloatType::F16, false),
        ];
        let int8 = self.int8.then_some(("int8", FloatType::F16, true));
        for (name, dtype, int8) in floats.into_iter().chain(int8) {
            let folder = self.folder.join(name);
            let options = SaveOptions {
                dtype,
                int8,
                ..SaveOptions::default()
            };
            save_model(dense, &folder, &options)?;
            let file = folder.join(match int8 {
                false => "model.safetensors",
                true => "model-int8.safetensors",
            });
            let mut ours = Command::new(&self.program);
            ours.args(&self.arguments).arg(&folder);
            let mut commands = vec![("dense", ours)];
            // `transformers` cannot read 8 bits.
            if let Some(python) = python.filter(|_| !int8) {
                let mut torch = Command::new(python);
                torch.args(["-c", FIRST_TOKEN]).arg(&folder);
                torch.arg(PROMPT.to_string());
                torch.arg(rayon::current_num_threads().to_string());
                commands.push((Kind::Sdpa.id(), torch));
            }
            for (who, command) in commands {
                let id = format!("{who}, {name}");
                let bytes = std::fs::metadata(&file).map(|file| file.len() as f64);
                add_file(&id, bytes.map_err(|error| error.to_string()));
                all.push(started(id, command));
            }
        }
        for (id, products, process) in engines {
            let ask =
                move |scope: &str, number| process.clone()?.ask(products.name(), scope, number);
            add_file(&id, ask("file", 0));
            let run: Run<'a, First> = Box::new(move || {
                Ok(First {
                    loaded: ask("first", PROMPT)?,
                    process: None,
                })
            });
            all.push(Contestant { id, run: Ok(run) });
        }
        Ok((files, all))
    }
}

/// The times of a first token.
pub(super) struct First {
    loaded: f64,
    /// Seconds and peak of the whole process, if it is fresh.
    process: Option<(f64, u64)>,
}

impl Outcome for First {
    fn seconds(&self) -> f64 {
        self.process.map_or(self.loaded, |(whole, _)| whole)
    }

    fn set(self, measured: &mut Measurement) {
        measured.set(LOADED, self.loaded);
        if let Some((whole, peak)) = self.process {
            measured.set(WHOLE, whole);
            measured.set(PEAK, peak as f64);
        }
    }
}

fn started<'a>(id: String, command: Command) -> Contestant<'a, First> {
    let command = RefCell::new(command);
    let run: Run<'a, First> = Box::new(move || {
        let (whole, found) = start(&mut command.borrow_mut())?;
        Ok(First {
            loaded: found.first - found.ready,
            process: Some((whole, found.peak)),
        })
    });
    Contestant { id, run: Ok(run) }
}

/// Seconds until a process has ended, and its result.
fn start(command: &mut Command) -> Result<(f64, Found), String> {
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no process could be started: {error}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .map(|found| (seconds, found))
        .map_err(|_| {
            let error = String::from_utf8_lossy(&output.stderr);
            let error = error.lines().rfind(|line| !line.trim().is_empty());
            format!("the process failed: {}", error.unwrap_or(last))
        })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_tells_what_it_found_or_why_not() {
        let answer = r#"{"ready": 1, "loaded": 2, "first": 3, "token": 5, "peak": 7}"#;
        let (seconds, found) =
            start(&mut shell(&format!("echo loading; echo '{answer}'"))).unwrap();
        assert!(seconds > 0.0);
        assert_eq!((found.first, found.token, found.peak), (3.0, 5, 7));
        let reason = start(&mut shell("echo 'no torch' >&2; exit 1")).unwrap_err();
        assert!(reason.contains("no torch"), "{reason}");
    }
}
