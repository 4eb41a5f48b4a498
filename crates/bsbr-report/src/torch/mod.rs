//! The PyTorch baseline: GPT-2, attention, training steps and matrix products, timed by a process
//! that answers one request per line.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::rc::Rc;

use bsbr_gpt2::Gpt2Config;

use crate::bench::Place;
use crate::bench::names::label;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::rounds::Timing;
use crate::spec::ArmSpec;

/// The script of a process that opens a folder and generates the first token.
pub(crate) const FIRST_TOKEN: &str = include_str!("first_token.py");

/// The size limit of one layer's scores in GB for eager attention, which holds several copies:
/// those of GPT-2 take 3.2 GB at 8,192 tokens.
const EAGER_LIMIT: f64 = 4.0;

/// The message if the process ends before it is ready.
const MISSING_PACKAGES: &str =
    "Python exited; it needs the packages torch and transformers, and CUDA for a GPU";

/// The script of the process.
const SCRIPT: &str = include_str!("baseline.py");

/// An implementation of dense attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `torch.nn.functional.scaled_dot_product_attention`.
    Sdpa,
    /// Scores, softmax and their product with the values, in sequence.
    Eager,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Sdpa, Self::Eager];

    /// Its name in records.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Sdpa => "torch-sdpa",
            Self::Eager => "torch-eager",
        }
    }

    /// Its word in requests.
    pub(crate) fn word(self) -> &'static str {
        self.id().trim_start_matches("torch-")
    }

    /// Those of `kinds` that take part with a specification's baselines.
    pub(crate) fn of(baselines: &[String], kinds: &'static [Self]) -> &'static [Self] {
        match baselines.is_empty() {
            true => &[],
            false => kinds,
        }
    }

    /// The rows of tables: arms, and then PyTorch's.
    pub(crate) fn subjects(arms: &[ArmSpec], kinds: &[Self]) -> Vec<Subject> {
        let of = |(kind, place): (&Self, usize)| Subject {
            arm: Some(place),
            ..Subject::other(kind.id(), &label(kind.id()))
        };
        let torch = kinds.iter().zip(arms.len()..).map(of);
        Subject::arms(arms).into_iter().chain(torch).collect()
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Baseline {
    heads: usize,
    child: RefCell<Child>,
    requests: RefCell<Option<ChildStdin>>,
    answers: RefCell<BufReader<ChildStdout>>,
}

impl Baseline {
    /// Starts the process for a lab's model.
    ///
    /// # Errors
    ///
    /// Same as [`Self::start`].
    pub(crate) fn of(lab: &Lab) -> Result<Self, String> {
        let place = Place::new(&lab.device_name, &lab.dtype());
        Self::start(lab.python.as_deref(), &lab.dense().config(), &place)
    }

    /// Starts the process with random weights of the model's shape, in the type of `place`, and on
    /// its GPU if it is one; the default Python is `python3`.
    ///
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub(crate) fn start(
        python: Option<&Path>,
        config: &Gpt2Config,
        place: &Place,
    ) -> Result<Self, String> {
        let [device, dtype] = place.in_torch()?;
        let settings = [("device", device.into()), ("dtype", dtype.into())];
        Self::run(python, SCRIPT, config, settings, MISSING_PACKAGES)
    }

    /// Starts a script that prints `ready` and then answers one request per line. It is given the
    /// shape of a model, and `settings`; `unfit` is the message if it ends before.
    ///
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub(crate) fn run(
        python: Option<&Path>,
        script: &str,
        config: &Gpt2Config,
        settings: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
        unfit: &str,
    ) -> Result<Self, String> {
        let mut shape = serde_json::json!({
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_embd": config.n_embd,
            "n_inner": config.inner_size(),
            "vocab_size": config.vocab_size,
            "threads": rayon::current_num_threads(),
        });
        for (name, value) in settings {
            shape[name] = value;
        }
        let python = python.unwrap_or(Path::new("python3"));
        let name = python.display();
        let mut child = Command::new(python)
            .args(["-c", script, &shape.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} cannot be started ({error}); see --python"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name} has no standard streams"));
        };
        let new = Self {
            heads: config.n_head,
            child: RefCell::new(child),
            requests: RefCell::new(Some(requests)),
            answers: RefCell::new(BufReader::new(answers)),
        };
        match new.read(|_| unfit.to_owned())?.as_str() {
            "ready" => Ok(new),
            other => Err(format!("{name}: {other}")),
        }
    }

    /// Seconds of one run, or bytes for scopes of memory. The script describes the scopes.
    ///
    /// # Errors
    ///
    /// The error message of the process.
    pub(crate) fn measure(&self, kind: Kind, scope: &str, length: usize) -> Result<f64, String> {
        if kind == Kind::Eager {
            check_eager_memory(self.heads, length)?;
        }
        self.ask(kind.word(), scope, length)
    }

    /// A run that measures a scope.
    pub(crate) fn timing<'a>(self: Rc<Self>, kind: Kind, scope: &str, number: usize) -> Timing<'a> {
        let scope = scope.to_owned();
        Box::new(move || self.measure(kind, &scope, number))
    }

    /// The process's response to a request of three words: a number.
    ///
    /// # Errors
    ///
    /// The error message of the process.
    pub(crate) fn ask(&self, whose: &str, scope: &str, number: usize) -> Result<f64, String> {
        let line = format!("{whose} {scope} {number}\n");
        if let Some(requests) = self.requests.borrow_mut().as_mut() {
            let sent = requests.write_all(line.as_bytes());
            let sent = sent.and_then(|()| requests.flush());
            sent.map_err(|error| format!("the baseline's process exited: {error}"))?;
        }
        let answer = self.read(|status| format!("the baseline's process exited: {status}"))?;
        answer.parse().map_err(|_| answer)
    }

    /// A line of the process's output, or the result of `ended` for its exit status.
    fn read(&self, ended: impl FnOnce(ExitStatus) -> String) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.borrow_mut().read_line(&mut line) {
            Ok(0) => Err(match self.child.borrow_mut().wait() {
                Ok(status) => ended(status),
                Err(error) => format!("the baseline's process: {error}"),
            }),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(format!("the baseline's process: {error}")),
        }
    }
}

/// Refuses scores in `f32` of which usual machines cannot hold several copies.
fn check_eager_memory(heads: usize, length: usize) -> Result<(), String> {
    let scores = (heads * length * length * size_of::<f32>()) as f64 * 1e-9;
    match scores > EAGER_LIMIT {
        true => Err(format!(
            "not tried: a layer's scores take {scores:.1} GB, several times over"
        )),
        false => Ok(()),
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // The process ends with its standard input; waiting avoids a zombie.
        drop(self.requests.borrow_mut().take());
        let _ = self.child.borrow_mut().wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_written_out_as_far_as_memory_goes() {
        assert_eq!(check_eager_memory(12, 8192), Ok(()));
        let reason = check_eager_memory(16, 8192).unwrap_err();
        assert!(reason.contains("4.3 GB"), "{reason}");
        assert!(check_eager_memory(12, 16384).is_err());
    }
}
