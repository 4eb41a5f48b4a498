//! One file a command: parse, call, print.

pub mod ask;
pub mod bench;
pub mod convert;
pub mod finetune;
pub mod first_token;
pub mod generate;
pub mod hub;
pub mod judge;
pub mod logits;
pub mod memory_cell;
pub mod pretrain;
pub mod reproduce;
pub mod serve_device;
pub mod shape;
pub mod texts;

mod arms;
mod card;
mod continuation;
mod ids;
mod interrupt;
mod model;
mod positions;
mod reading;
mod weights;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

/// Minutes, as an argument.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    Duration::try_from_secs_f64(60.0 * minutes)
        .map_err(|_| "expected a number of minutes, not below 0".to_owned())
}

/// Refuses a folder that a model cannot be written to, before time goes into the model.
fn refuse_full(out: &Path) -> Result<()> {
    ensure!(
        !std::fs::read_dir(out).is_ok_and(|mut inside| inside.next().is_some()),
        "{}: exists and is not empty; choose another folder with --out, or remove it first",
        out.display()
    );
    Ok(())
}

/// The command line as one would type it.
fn command_line() -> String {
    let mut words = vec!["cargo xtask".to_owned()];
    words.extend(std::env::args().skip(1));
    words.join(" ")
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
    fn only_a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(refuse_full(folder.path()).is_ok());
        assert!(refuse_full(&folder.path().join("new")).is_ok());
        std::fs::write(folder.path().join("a"), "").expect("a file");
        let error = refuse_full(folder.path()).expect_err("it is not empty");
        assert!(error.to_string().contains("not empty"), "{error}");
    }
}
