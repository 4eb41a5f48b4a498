//! Commands that are killed at random, again and again, end where an undisturbed one does, and leave
//! nothing behind.
//!
//! The short form runs with every test; `BSBR_KILLS=50 cargo test -p xtask --test torture` is the long
//! one.
#![allow(clippy::unwrap_used)]

mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kills of each command.
fn kills() -> u64 {
    let kills = std::env::var("BSBR_KILLS");
    kills.map_or(4, |kills| kills.parse().unwrap())
}

/// A time below `most`, another one for each number.
fn moment(number: u64, most: Duration) -> Duration {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    most.mul_f64((state >> 11) as f64 / (1u64 << 53) as f64)
}

fn start(words: &[&str], out: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(words)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a command to its end.
fn run(words: &[&str], out: &Path) {
    let ended = start(words, out).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{words:?}: {said}");
}

/// Names in a folder that are not among `known`.
fn others(folder: &Path, known: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| !known.contains(&name.as_str()))
        .collect()
}

/// What a model folder holds, but for its card, which names the folder.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            ["config.json", "model.safetensors"]
                .iter()
                .any(|name| path.ends_with(name))
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 2);
    let name = |path: &PathBuf| PathBuf::from(path.file_name().unwrap());
    files
        .iter()
        .map(|path| (name(path), fs::read(path).unwrap()))
        .collect()
}

/// Kills `words` again and again, lets it end, and compares.
fn torture(words: &[&str], known: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let begun = Instant::now();
    run(words, &place("undisturbed/out"));
    let whole = begun.elapsed();
    let out = place("killed/out");
    for number in 0..kills() {
        let mut child = start(words, &out);
        std::thread::sleep(moment(number, whole));
        child.kill().unwrap();
        child.wait().unwrap();
        // A folder is there whole or not at all.
        if out.exists() {
            assert_eq!(
                content(&out),
                content(&place("undisturbed/out")),
                "kill {number}"
            );
            fs::remove_dir_all(&out).unwrap();
        }
    }
    run(words, &out);
    assert_eq!(content(&out), content(&place("undisturbed/out")));
    assert_eq!(others(&place("killed"), known), Vec::<String>::new());
}

fn model() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    tiny::model(&path);
    let name = path.display().to_string();
    (folder, name)
}

const TRAINING: [&str; 11] = [
    "--arm",
    "moments:chunk_size=16,clusters=4,sink_tokens=2",
    "--window",
    "64",
    "--windows",
    "24",
    "--epochs",
    "2",
    "--checkpoint-minutes",
    "0",
    "--no-dashboard",
];

#[test]
fn converting_survives_kills() {
    let (_folder, model) = model();
    torture(&["convert", "--model", &model], &["out"]);
}

#[test]
fn fine_tuning_survives_kills() {
    let (_folder, model) = model();
    let words = [&["finetune", "--model", &model][..], &TRAINING].concat();
    torture(&words, &["out", "out.checkpoints"]);
}

#[test]
fn of_two_processes_in_one_place_the_second_is_refused() {
    let (folder, model) = model();
    let out = folder.path().join("out");
    let words = [&["finetune", "--model", &model][..], &TRAINING].concat();
    let many = [&words[..], &["--seed", "3"]].concat();
    let mut first = start(&many, &out);
    let lock = folder.path().join(".out.bsbr-lock");
    let begun = Instant::now();
    while !fs::read_to_string(&lock).is_ok_and(|holder| !holder.is_empty()) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the first takes no lock"
        );
        assert!(first.try_wait().unwrap().is_none(), "the first has ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = start(&words, &out).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    // The system has released the lock.
    run(&many, &out);
}
