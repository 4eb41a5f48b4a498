//! One file per command: parse, call, print.

pub mod ask;
pub mod bench;
pub mod completions;
pub mod convert;
pub mod evaluate;
pub mod finetune;
pub mod first_token;
pub mod generate;
pub mod hub;
pub mod judge;
pub mod logits;
pub mod man;
pub mod memory_cell;
pub mod pretrain;
pub mod reproduce;
pub mod serve_device;
pub mod shape;
pub mod texts;

mod arms;
mod card;
mod choice;
mod continuation;
mod ids;
mod interrupt;
mod model;
#[cfg(test)]
mod options;
mod positions;
mod prompt;
mod reading;
mod weights;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bsbr_files::{Lock, check_folder};
use bsbr_report::host::Commit;
use burn_train::Interrupter;
use indicatif::{ProgressBar, ProgressStyle};

/// Minutes, as an argument.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    Duration::try_from_secs_f64(60.0 * minutes)
        .map_err(|_| "expected a number of minutes, not below 0".to_owned())
}

/// Locks the path of a model before any work: no other process writes there until the lock is
/// dropped.
fn claim(out: &Path) -> Result<Lock> {
    let context = || format!("--out {}", out.display());
    let lock = Lock::acquire(out).with_context(context)?;
    check_folder(out, 0).with_context(context)?;
    Ok(lock)
}

/// Signals Ctrl-C to a training run.
fn interrupter() -> Result<Interrupter> {
    let stop = Interrupter::new();
    let pressed = stop.clone();
    ctrlc::set_handler(move || pressed.stop(None))?;
    Ok(stop)
}

/// A line of progress on standard error, in one write: a line cut short by a kill would join the
/// next one in a file.
fn report(line: &str) {
    use std::io::Write;
    // An error here cannot be reported.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A progress bar of this form on a terminal; elsewhere it is hidden.
fn bar(length: u64, form: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(form);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A progress bar of a search, which receives the number of finished passes and the total.
fn passes(message: &'static str) -> impl FnMut(usize, usize) {
    let bar = bar(1, "{msg} {wide_bar} {pos}/{len} passes, {eta} left").with_message(message);
    move |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    }
}

/// Writes bytes to standard output unchanged.
fn print(bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    std::io::stdout()
        .write_all(bytes)
        .context("standard output")
}

/// The commit of this program.
fn commit() -> Option<Commit> {
    Commit::built(env!("BSBR_COMMIT"))
}

/// The command line for records and model cards, which others read.
fn command_line() -> String {
    let typed = std::env::args().skip(1).map(|word| portable(&word));
    let words: Vec<String> = std::iter::once(crate::program().to_owned())
        .chain(typed)
        .collect();
    words.join(" ")
}

/// A word of a command line. Of an absolute path, or an option's, only the last component remains:
/// its folders mean nothing on other machines, and may name a person.
fn portable(word: &str) -> String {
    let (option, value) = match word.split_once('=') {
        Some((option, value)) => (format!("{option}="), value),
        None => (String::new(), word),
    };
    let path = Path::new(value);
    match path.file_name().filter(|_| path.is_absolute()) {
        Some(name) => format!("{option}{}", name.to_string_lossy()),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_a_time_or_an_error() {
        assert_eq!(minutes("1.5"), Ok(Duration::from_secs(90)));
        for wrong in ["-1", "nan", "inf", "1e300", "soon"] {
            assert!(minutes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn recorded_commands_have_no_folders_of_one_machine() {
        let cases = [
            ("/home/me/venv/bin/python", "python"),
            ("--python=/home/me/venv/bin/python", "--python=python"),
            ("assets/bundled", "assets/bundled"),
            ("--arms", "--arms"),
            ("moments:span=8,summaries", "moments:span=8,summaries"),
            ("/", "/"),
        ];
        for (typed, recorded) in cases {
            assert_eq!(portable(typed), recorded);
        }
    }

    #[test]
    fn a_place_that_is_taken_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(claim(folder.path()).is_ok());
        let lock = claim(&folder.path().join("new")).expect("nobody has it");
        let error = claim(&folder.path().join("new")).expect_err("it is taken");
        let holder = format!("process {}", std::process::id());
        assert!(format!("{error:#}").contains(&holder), "{error:#}");
        drop(lock);
        std::fs::write(folder.path().join("a"), "").expect("a file");
        for taken in [folder.path().to_owned(), folder.path().join("a")] {
            let error = claim(&taken).expect_err("there is something");
            assert!(format!("{error:#}").contains("not an empty"), "{error:#}");
        }
    }
}
