//! Counts the instructions of every fused operation, which do not depend on the load of the
//! machine.
//!
//! `cargo bench --workspace --profile dev --bench instructions` counts on one thread with
//! Valgrind's Callgrind, compares the counts with those in `instructions.json` beside this file,
//! and fails if one is more than two per cent higher. `-- --bless` writes the file again. Valgrind
//! does not support AVX-512, so the code for AVX2 is counted.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[path = "ops/mod.rs"]
mod ops;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Small: under Valgrind everything takes fifty times as long.
const SIZE: ops::Size = ops::Size {
    tokens: 512,
    classes: 512,
};

/// What a count may rise by.
const TOLERANCE: f64 = 0.02;

/// How a process of one operation is asked for: its name and the number of runs.
const ONE: &str = "--one";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, runs, ..] = words.as_slice()
        && first == ONE
    {
        let run = ops::make(name, false, SIZE);
        (0..runs.parse::<usize>().unwrap()).for_each(|_| run());
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--test") {
        return ExitCode::SUCCESS;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json");
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let known: BTreeMap<String, u64> = serde_json::from_str(&known).unwrap_or_default();
    let bless = words.iter().any(|word| word == "--bless");
    let mut found = BTreeMap::new();
    let mut failed = false;
    println!(
        "{:34} {:>14} {:>14} {:>8}",
        "operation", "before", "now", ""
    );
    for name in ops::NAMES {
        // What comes before and after the operation is in both counts.
        let counts = [1, 2].map(|runs| count(name, runs));
        let [Ok(one), Ok(two)] = counts else {
            for error in counts.into_iter().filter_map(Result::err) {
                eprintln!("error: {name}: {error}");
            }
            return ExitCode::FAILURE;
        };
        let now = two.saturating_sub(one);
        let before = known.get(name).copied();
        let change = before.map(|before| now as f64 / before as f64 - 1.0);
        let above = change.is_none_or(|change| change > TOLERANCE);
        failed |= above && !bless;
        println!(
            "{name:34} {:>14} {now:>14} {:>8}{}",
            before.map_or_else(|| "none".to_owned(), |before| before.to_string()),
            change.map_or_else(String::new, |change| format!("{:+.2} %", 100.0 * change)),
            if above && !bless { "  too many" } else { "" }
        );
        found.insert(name.to_owned(), now);
    }
    if bless {
        let text = serde_json::to_string_pretty(&found).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
        println!("{} is written", path.display());
    }
    match failed {
        true => {
            eprintln!("error: if a rise is intended, write the counts again with -- --bless");
            ExitCode::FAILURE
        }
        false => ExitCode::SUCCESS,
    }
}

/// Instructions of a process that runs an operation so many times.
fn count(name: &str, runs: usize) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([ONE, name, &runs.to_string()])
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}); install it"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    match line.map(|(_, count)| count.trim().parse::<u64>()) {
        Some(Ok(count)) if output.status.success() => Ok(count),
        _ => Err(format!("valgrind says:\n{text}")),
    }
}
