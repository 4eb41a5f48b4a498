//! Memory over a long generation.
//!
//! `BSBR_SOAK=100000 cargo test -p xtask --test torture soak` is the long form.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{model, run, words};

/// Tokens that are generated.
fn tokens() -> u64 {
    let tokens = std::env::var("BSBR_SOAK");
    tokens.map_or(4000, |tokens| tokens.parse().unwrap())
}

/// Bytes of memory that a process holds now; `None` where it has ended.
fn resident(child: &Child) -> Option<u64> {
    let path = format!("/proc/{}/statm", child.id());
    let text = fs::read_to_string(path).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    (pages > 0).then_some(pages * 4096)
}

/// What an allocator may keep for itself.
const SLACK: u64 = 8 << 20;

/// Generating holds what the cache does: nothing more where it does not grow, and its growth where it
/// does.
#[test]
fn memory_grows_by_the_cache_alone() {
    let tokens = tokens();
    let (folder, original) = model(usize::try_from(tokens).unwrap() + 16);
    let ids = folder.path().join("ids.json");
    fs::write(&ids, "[[1, 2, 3]]").unwrap();
    for (name, arm) in [
        ("local", "local:chunk_size=32"),
        (
            "lookups",
            "moments:chunk_size=32,clusters=4,exact_clusters=2",
        ),
    ] {
        let converted = folder.path().join(name);
        let places = [("model", original.clone()), ("out", converted.clone())];
        run(&words(&["convert", "--arm", arm], &places));
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let places = [("model", converted), ("ids-file", ids.clone())];
        command
            .args(words(
                &["generate", "--json", "--temperature", "1"],
                &places,
            ))
            .args(["--max-new-tokens", &tokens.to_string()])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The output is one long line at the end, which fits into the pipe only if it is read.
        let reader = child.stdout.take().unwrap();
        let output = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
        let mut held = Vec::new();
        while child.try_wait().unwrap().is_none() {
            held.extend(resident(&child));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(child.wait().unwrap().success());
        let outcome: serde_json::Value = serde_json::from_str(&output.join().unwrap()).unwrap();
        assert_eq!(outcome["new_tokens"], tokens, "{name}");
        let cache = outcome["cache_bytes"].as_u64().unwrap();
        let growth = match name {
            // The near field, in full after the first chunks.
            "local" => {
                assert!(cache < 1 << 20, "{cache} bytes of cache");
                0
            }
            // A list may be twice as long as what is in it.
            _ => 2 * cache,
        };
        let (begun, end) = (held[held.len() / 2], held[held.len() - held.len() / 8 - 1]);
        eprintln!("{name}: {begun} bytes in the middle, {end} near the end, cache of {cache}");
        assert!(
            end <= begun + growth + SLACK,
            "{name}: from {begun} to {end} bytes"
        );
    }
}
