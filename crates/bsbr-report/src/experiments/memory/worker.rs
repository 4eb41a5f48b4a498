//! One pass in its own process, with its memory and time.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use bsbr_attention::ArmConfig;
use bsbr_convert::ConversionPlan;
use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_train::config::AdamW;
use bsbr_train::gradients::{clip_global_norm, of_next_tokens};
use bsbr_train::optimizer::Optimizer;
use burn::module::Module;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::corpus::random;
use crate::decoding::{Context, Limits, last_logits};
use crate::rounds::wait_for;

/// Tokens of a first pass, which allocates what every pass needs.
const WARM_UP: usize = 16;

/// The task of a process, read as JSON from its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The arm of every layer.
    pub arm: ArmConfig,
    /// Seed of the ids.
    pub seed: u64,
    /// Tokens.
    pub length: usize,
    /// The embeddings of positions beyond the model's.
    pub extension: PositionExtension,
    /// The pass over the tokens.
    pub pass: Pass,
}

/// The kind of pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// A forward pass to the logits of the last token.
    Forward,
    /// Reading a text so that the next token can be generated: the cache, and the logits of the
    /// last token.
    Reading {
        /// Tokens read at once.
        piece: usize,
    },
    /// A training step: forward, backward, and the AdamW update of every weight.
    Step {
        /// Whether the backward pass recomputes blocks.
        recompute: bool,
    },
}

/// The result; the last line of its standard output, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The peak memory of the process, in bytes.
    pub peak: u64,
    /// The growth in the pass: the peak minus the memory before it.
    pub growth: u64,
    /// The duration of the pass.
    pub seconds: f64,
}

/// The command of a process that measures a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, which name the model.
    pub arguments: Vec<String>,
}

impl Worker {
    /// Starts a process and waits for its result.
    ///
    /// # Errors
    ///
    /// Why it is missing, as text for a table: usually out of memory.
    pub fn measure(&self, task: &Task, limit_mib: Option<u64>) -> Result<Peak, String> {
        let task = serde_json::to_string(task).map_err(|error| error.to_string())?;
        answer(&mut self.command(limit_mib), &task, limit_mib)
    }

    fn command(&self, limit_mib: Option<u64>) -> Command {
        let Some(limit) = limit_mib else {
            let mut command = Command::new(&self.program);
            command.args(&self.arguments);
            return command;
        };
        // The shell sets its own limit and then executes the program.
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v \"$0\" && exec \"$@\""])
            .arg((limit * 1024).to_string())
            .arg(&self.program)
            .args(&self.arguments);
        command
    }
}

/// Runs a process to its end: the JSON of the last line of its output.
///
/// # Errors
///
/// Why it has none, as text for a table; `limit_mib` is that of its memory.
pub(crate) fn answer<T: DeserializeOwned>(
    command: &mut Command,
    input: &str,
    limit_mib: Option<u64>,
) -> Result<T, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start a process: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the process has ended already, its status says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| format!("the process was lost: {error}"))?;
    if !output.status.success() {
        return Err(why(&output, limit_mib));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| format!("unexpected output of the process: `{last}`"))
}

/// Why a process failed.
fn why(output: &Output, limit_mib: Option<u64>) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    let limit = limit_mib.map_or_else(String::new, |mib| format!(" with a limit of {mib} MiB"));
    let refused = error.lines().find_map(|line| {
        line.strip_prefix("memory allocation of ")?
            .split(' ')
            .next()
    });
    if let Some(bytes) = refused.and_then(|bytes| bytes.parse::<f64>().ok()) {
        let mib = bytes / (1 << 20) as f64;
        return format!("out of memory: {mib:.0} MiB more could not be allocated{limit}");
    }
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9) {
        return format!("killed by the system, probably out of memory{limit}");
    }
    let last = error.lines().rfind(|line| !line.trim().is_empty());
    match last {
        Some(line) => format!("the process failed{limit}: {line}"),
        None => format!("the process failed{limit} with {}", output.status),
    }
}

/// Measures a task in this process, which should do nothing else before or after.
///
/// Bases of compressed states are not calibrated, because their size is the same.
///
/// # Errors
///
/// Why the measurement failed, in words.
pub fn measure_here(dense: Gpt2, task: &Task) -> Result<Peak, String> {
    let vocabulary = dense.config().vocab_size;
    let plan = ConversionPlan::uniform(task.arm.clone());
    let model = bsbr_convert::convert(dense.clone(), &plan)
        .map_err(|error| error.to_string())?
        .with_packed_weights_of(&dense)
        .with_position_extension(task.extension)
        .map_err(|error| error.to_string())?;
    drop(dense);
    let ids = |length: usize| random(task.seed, 0, vocabulary, length);
    match task.pass {
        Pass::Forward => watched(task.length, |length| {
            wait_for(last_logits(&model, &ids(length))?);
            Ok(())
        }),
        Pass::Reading { piece } => watched(task.length, |length| {
            Context::new(&model).read(&model, &ids(length), piece, Limits::NONE)
        }),
        Pass::Step { recompute } => {
            let mut training = Training::new(model, recompute);
            // A target for every input requires one more token.
            watched(task.length, |length| training.step(ids(length + 1)))
        }
    }
}

/// Training steps on random ids: a model and its optimiser.
pub struct Training {
    /// `None` after a failed step.
    model: Option<Gpt2>,
    optimizer: Optimizer,
    config: AdamW,
    recompute: bool,
}

impl Training {
    /// Trains every weight of `model` with AdamW.
    pub fn new(model: Gpt2, recompute: bool) -> Self {
        let config = AdamW::default();
        Self {
            model: Some(model.train()),
            optimizer: Optimizer::adamw(&config),
            config,
            recompute,
        }
    }

    /// One step on one window: all tokens except the last are inputs, and each predicts the
    /// next.
    ///
    /// # Errors
    ///
    /// Why it failed, in words.
    pub fn step(&mut self, ids: Vec<u32>) -> Result<(), String> {
        let model = self.model.take().ok_or("an earlier step failed")?;
        let weights = vec![1.0; ids.len().saturating_sub(1)];
        let found = of_next_tokens(&model, &[TrainWindow { ids, weights }], self.recompute);
        let (grads, loss) = found.map_err(|error| error.to_string())?;
        let (grads, norm) = clip_global_norm(&model, grads, self.config.clip_norm);
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(format!(
                "the loss is {loss}, and the norm of the gradients is {norm}"
            ));
        }
        self.model = Some(self.optimizer.step(model, grads, 1.0));
        Ok(())
    }
}

/// Memory and time of a pass over `length` tokens, after a short one.
fn watched(
    length: usize,
    mut pass: impl FnMut(usize) -> Result<(), String>,
) -> Result<Peak, String> {
    pass(WARM_UP.min(length))?;
    reset_peak()?;
    let before = status("VmRSS")?;
    let started = Instant::now();
    pass(length)?;
    let seconds = started.elapsed().as_secs_f64();
    let peak = status("VmHWM")?;
    Ok(Peak {
        peak,
        growth: peak.saturating_sub(before),
        seconds,
    })
}

/// Resets the process's peak to its current memory.
fn reset_peak() -> Result<(), String> {
    std::fs::write("/proc/self/clear_refs", "5")
        .map_err(|error| format!("the system cannot reset a process's peak memory: {error}"))
}

/// A line of the process's status, in bytes.
pub(crate) fn status(name: &str) -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("the system does not report a process's memory: {error}"))?;
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .find_map(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or_else(|| format!("the system does not report {name}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Worker {
        Worker {
            program: "sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
        }
    }

    fn task() -> Task {
        Task {
            arm: ArmConfig::DENSE,
            seed: 1,
            length: 7,
            extension: PositionExtension::None,
            pass: Pass::Forward,
        }
    }

    #[test]
    fn a_process_answers_what_it_was_asked() {
        let worker = shell(
            "grep -q '\"length\":7' && echo loading \
             && echo '{\"peak\": 9, \"growth\": 4, \"seconds\": 0.5}'",
        );
        let expected = Peak {
            peak: 9,
            growth: 4,
            seconds: 0.5,
        };
        assert_eq!(worker.measure(&task(), None), Ok(expected));
        assert_eq!(worker.measure(&task(), Some(4096)), Ok(expected));
    }

    #[test]
    fn a_process_that_fails_leaves_its_reason() {
        for (script, limit, part) in [
            (
                "echo 'memory allocation of 2097152 bytes failed' >&2; exit 1",
                Some(512),
                "2 MiB more could not be allocated with a limit of 512 MiB",
            ),
            ("kill -9 $$", None, "killed by the system"),
            (
                "echo 'error: no such model' >&2; exit 3",
                None,
                "no such model",
            ),
            ("exit 3", None, "3"),
            ("echo hello", None, "`hello`"),
        ] {
            let reason = shell(script).measure(&task(), limit).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
        let nobody = Worker {
            program: "no/such/program".into(),
            arguments: Vec::new(),
        };
        let reason = nobody.measure(&task(), None).unwrap_err();
        assert!(reason.contains("cannot start a process"), "{reason}");
    }

    /// The pass that is measured is the one over the tokens, not the short one before it: neither
    /// its memory nor its time counts.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_peak_is_that_of_the_pass() {
        const MIB: usize = 1 << 20;
        let pass = |length: usize| {
            let (mib, milliseconds) = match length {
                WARM_UP => (512, 400),
                _ => (192, 50),
            };
            let held = vec![1u8; mib * MIB];
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
            std::hint::black_box(held.last());
            Ok(())
        };
        let found = watched(40, pass).unwrap();
        // Other tests of this process hold memory, too.
        let growth = found.growth as usize / MIB;
        assert!((128..400).contains(&growth), "{found:?}");
        assert!(found.peak > found.growth, "{found:?}");
        assert!((0.05..0.4).contains(&found.seconds), "{found:?}");
    }

    /// The limit applies to the process.
    #[test]
    fn a_limit_is_kept() {
        let worker =
            shell("echo \"{\\\"peak\\\": $(ulimit -v), \\\"growth\\\": 0, \\\"seconds\\\": 1}\"");
        let found = worker.measure(&task(), Some(300)).unwrap();
        assert_eq!(found.peak, 300 * 1024);
    }
}
