//! The file of votes: one JSON object per line, append-only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ReportError;
use crate::spec::spec_error;

/// The file of votes within the folder of results.
pub const VOTES: &str = "votes.jsonl";

/// A judge's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The summary on the left is better.
    Left,
    /// The summary on the right is better.
    Right,
    /// Neither is.
    Neither,
}

impl Choice {
    /// The choice with this name in forms and files.
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }
}

/// One judge's vote on one ballot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// The judge.
    pub judge: String,
    /// The models of the summaries, sorted.
    pub pair: [String; 2],
    /// The article's index.
    pub article: u64,
    /// The models of the summaries as shown: left, right.
    pub order: [String; 2],
    /// The choice.
    pub choice: Choice,
    /// The time, in UTC.
    pub time: String,
    /// The seed of the order.
    pub seed: u64,
    /// SHA-256 of the judged texts.
    pub ballot: String,
}

impl Vote {
    /// The model whose summary was preferred.
    pub fn preferred(&self) -> Option<&str> {
        match self.choice {
            Choice::Left => Some(&self.order[0]),
            Choice::Right => Some(&self.order[1]),
            Choice::Neither => None,
        }
    }
}

/// The votes of a file; empty without a file.
///
/// An incomplete last line is ignored.
///
/// # Errors
///
/// [`ReportError::Spec`] names the invalid line.
pub fn read_votes(path: &Path) -> Result<Vec<Vote>, ReportError> {
    match path.is_file() {
        true => parse(path, whole(&read(path)?)),
        false => Ok(Vec::new()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ReportError> {
    std::fs::read(path).map_err(ReportError::reading(path))
}

/// The complete lines.
fn whole(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    &bytes[..end.map_or(0, |end| end + 1)]
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Vote>, ReportError> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            let wrong = |message: &str| {
                let message = format!("line {}: {message}; correct or delete the line", at + 1);
                spec_error(path, message)
            };
            let vote = serde_json::from_str(line);
            let vote: Vote = vote.map_err(|error| wrong(&error.to_string()))?;
            let mut order = vote.order.clone();
            order.sort_unstable();
            match order == vote.pair {
                true => Ok(vote),
                false => Err(wrong("`order` does not match `pair`")),
            }
        })
        .collect()
}

/// An append-only file of votes.
#[derive(Debug)]
pub struct VoteFile {
    path: PathBuf,
    file: File,
}

impl VoteFile {
    /// Opens or creates the file, and returns its votes.
    ///
    /// An incomplete last line is removed.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the file cannot be read or written, or a line is invalid.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vote>), ReportError> {
        let failed = ReportError::writing(path);
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(&failed)?;
        let bytes = read(path)?;
        let kept = whole(&bytes);
        if kept.len() < bytes.len() {
            let shortened = OpenOptions::new().write(true).open(path);
            let shortened = shortened.and_then(|file| file.set_len(kept.len() as u64));
            shortened.map_err(&failed)?;
        }
        let path = path.to_owned();
        let votes = parse(&path, kept)?;
        Ok((Self { path, file }, votes))
    }

    /// Appends a vote, and returns when it is on the disk.
    ///
    /// # Errors
    ///
    /// [`ReportError::Write`] if it cannot be written.
    pub fn append(&mut self, vote: &Vote) -> Result<(), ReportError> {
        let mut line = serde_json::to_vec(vote)?;
        line.push(b'\n');
        // One write, so that lines of two processes do not mix.
        let before = self.file.metadata();
        let written = self.file.write_all(&line);
        let written = written.and_then(|()| self.file.sync_data());
        if let (Err(_), Ok(before)) = (&written, before) {
            // A partial line would corrupt the next one. If it cannot be removed, [`Self::open`]
            // removes it.
            let _ = self.file.set_len(before.len());
        }
        written.map_err(ReportError::writing(&self.path))
    }
}
