//! A process that answers one request per line.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::rc::Rc;

use crate::engines::Kind;
use crate::rounds::Timing;

/// The size limit of one layer's scores in GB for eager attention, which holds several copies:
/// those of GPT-2 take 3.2 GB at 8,192 tokens.
const EAGER_LIMIT: f64 = 4.0;

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    heads: usize,
    child: RefCell<Child>,
    requests: RefCell<Option<ChildStdin>>,
    answers: RefCell<BufReader<ChildStdout>>,
}

/// A process that rows share, or why there is none.
pub(crate) type Started = Result<Rc<Process>, String>;

impl Process {
    /// Starts a script with its argument, a model of so many `heads`. It prints `ready` and then
    /// answers one request per line; `unfit` is the message if it ends before.
    ///
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub(super) fn start(
        python: &Path,
        arguments: &[String; 2],
        heads: usize,
        unfit: &str,
    ) -> Result<Self, String> {
        let name = python.display();
        let mut child = Command::new(python)
            .arg("-c")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} cannot be started ({error}); see --python"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name} has no standard streams"));
        };
        let new = Self {
            heads,
            child: RefCell::new(child),
            requests: RefCell::new(Some(requests)),
            answers: RefCell::new(BufReader::new(answers)),
        };
        match new.read(|_| unfit.to_owned())?.as_str() {
            "ready" => Ok(new),
            other => Err(format!("{name}: {other}")),
        }
    }

    /// The process's response to a request: seconds of one run, or bytes for scopes of memory. `kind`
    /// is a kind of attention or a type of weights. The script describes the scopes.
    ///
    /// # Errors
    ///
    /// The error message of the process.
    pub(crate) fn ask(&self, kind: &str, scope: &str, number: usize) -> Result<f64, String> {
        if kind == Kind::Eager.word() {
            check_eager_memory(self.heads, number)?;
        }
        let line = format!("{kind} {scope} {number}\n");
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

impl Drop for Process {
    fn drop(&mut self) {
        // The process ends with its standard input; waiting avoids a zombie.
        drop(self.requests.borrow_mut().take());
        let _ = self.child.borrow_mut().wait();
    }
}

/// One row of an engine: what its process computes with one kind of attention or type of weights.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its id in records.
    pub id: String,
    /// The word of its kind in requests.
    pub kind: &'static str,
    /// Its process.
    pub process: Started,
}

impl Peer {
    /// PyTorch with a kind of attention.
    pub(crate) fn torch(id: &str, kind: Kind, process: Started) -> Self {
        Self {
            id: id.to_owned(),
            kind: kind.word(),
            process,
        }
    }

    /// The response to a request, or why there is none.
    ///
    /// # Errors
    ///
    /// Why there is no process, or its error message.
    pub(crate) fn ask(&self, scope: &str, number: usize) -> Result<f64, String> {
        let process = self.process.as_ref().map_err(Clone::clone)?;
        process.ask(self.kind, scope, number)
    }

    /// A run that measures a scope.
    pub(crate) fn timing<'a>(self, scope: &str, number: usize) -> Timing<'a> {
        let scope = scope.to_owned();
        Box::new(move || self.ask(&scope, number))
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
