//! Time from the start of a process to the first token, including loading.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use bsbr_convert::{FloatType, LoadOptions, SaveOptions, load_model, save_model};
use bsbr_gpt2::{Gpt2, ProductType, TokenBatch};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::bench::Scope;
use crate::bench::record::{BYTES, SECONDS, Series};
use crate::error::ReportError;
use crate::experiments::memory::worker::status;
use crate::reading::likeliest;
use crate::torch::{Baseline, FIRST_TOKEN, Kind};

/// Tokens of the prompt.
pub const PROMPT: usize = 128;

/// Time from the start of the process to the token, as measured by its parent.
pub const WHOLE: &str = "whole";
/// The same without the time to load the program: Python and its libraries.
pub const LOADED: &str = "loading and first token";
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
    /// Saves the model in each type, and times fresh processes that open it, round by round.
    ///
    /// # Errors
    ///
    /// [`ReportError::Save`] if a checkpoint cannot be written.
    pub(super) fn measure(
        &self,
        dense: &Gpt2,
        python: Option<&Path>,
        engines: &[Engine],
        runs: u64,
        progress: &dyn Fn(&str),
    ) -> Result<Vec<Series>, ReportError> {
        let mut contestants: Vec<(String, Command)> = Vec::new();
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
            let mut ours = Command::new(&self.program);
            ours.args(&self.arguments).arg(&folder);
            contestants.push((format!("dense, {name}"), ours));
            // `transformers` cannot read 8 bits.
            if let Some(python) = python.filter(|_| !int8) {
                let mut torch = Command::new(python);
                torch.args(["-c", FIRST_TOKEN]).arg(&folder);
                torch.arg(PROMPT.to_string());
                torch.arg(rayon::current_num_threads().to_string());
                contestants.push((format!("{}, {name}", Kind::Sdpa.id()), torch));
            }
            let file = std::fs::metadata(folder.join(match int8 {
                false => "model.safetensors",
                true => "model-int8.safetensors",
            }));
            for (who, _) in contestants.iter().filter(|(who, _)| who.ends_with(name)) {
                let mut bytes = part(who, FILE, BYTES);
                bytes.push(match &file {
                    Ok(file) => Ok(file.len() as f64),
                    Err(error) => Err(error.to_string()),
                });
                all.push(bytes);
            }
        }
        let mut timed: Vec<[Series; 3]> = contestants
            .iter()
            .map(|(who, _)| {
                [(WHOLE, SECONDS), (LOADED, SECONDS), (PEAK, BYTES)]
                    .map(|(name, unit)| part(who, name, unit))
            })
            .collect();
        let mut asked: Vec<Series> = engines
            .iter()
            .map(|(who, ..)| part(who, LOADED, SECONDS))
            .collect();
        let ask = |(_, products, process): &Engine, scope, number| {
            process.clone()?.ask(products.name(), scope, number)
        };
        for engine in engines {
            let mut bytes = part(&engine.0, FILE, BYTES);
            bytes.push(ask(engine, "file", 0));
            all.push(bytes);
        }
        // The first round loads the files into the system's cache.
        for round in 0..=runs {
            for turn in 0..contestants.len() {
                let place = (turn + round as usize) % contestants.len();
                let (who, command) = &mut contestants[place];
                progress(&format!("first token: {who}"));
                let found = start(command);
                if round > 0 {
                    let [whole, loaded, peak] = &mut timed[place];
                    let one = |of: fn(&(f64, Found)) -> f64| found.as_ref().map(of);
                    whole.push(one(|(whole, _)| *whole).map_err(Clone::clone));
                    let own = one(|(_, found)| found.first - found.ready);
                    loaded.push(own.map_err(Clone::clone));
                    peak.push(one(|(_, found)| found.peak as f64).map_err(Clone::clone));
                }
            }
            for (engine, series) in engines.iter().zip(&mut asked) {
                progress(&format!("first token: {}", engine.0));
                let found = ask(engine, "first", PROMPT);
                if round > 0 || found.is_err() {
                    series.push(found);
                }
            }
        }
        all.extend(timed.into_iter().flatten().chain(asked));
        Ok(all)
    }
}

fn part(who: &str, part: &str, unit: &str) -> Series {
    Series {
        part: part.to_owned(),
        ..Series::new(Scope::FirstToken.id(), who, PROMPT, unit)
    }
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
