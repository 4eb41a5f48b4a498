//! Stores the commit in the program, with `-dirty` if sources differ from it.
//!
//! `GIT_COMMIT` names it if sources are built without their repository.

use std::path::Path;
use std::process::Command;

/// The sources of the programs, besides their crates.
const SOURCES: [&str; 4] = ["crates", "xtask", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-env-changed=GIT_COMMIT");
    let root = Path::new("..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    // It grows with each commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = std::env::var("GIT_COMMIT").ok().or_else(here);
    println!(
        "cargo::rustc-env=BSBR_COMMIT={}",
        commit.unwrap_or_default()
    );
}

/// The commit of the repository that contains the sources.
fn here() -> Option<String> {
    let hash = git(&["rev-parse", "HEAD"])?;
    let sources = SOURCES.map(|source| format!(":/{source}"));
    let mut arguments = vec!["status", "--porcelain", "--"];
    arguments.extend(sources.iter().map(String::as_str));
    let changes = git(&arguments)?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    Some(format!("{hash}{dirty}"))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
