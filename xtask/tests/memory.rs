//! Memory does not grow with the size of text files.
//!
//! `BSBR_TEXT_MB=2000 cargo test -p xtask --test memory -- --nocapture` is the long form.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stderr)] // peaks are said

#[path = "../../crates/bsbr-data/tests/common/parquet.rs"]
mod parquet_file;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_train::finetune::Dataset;
use parquet_file::{Form, write_texts};
// Its allocator, which is that of the commands.
use xtask as _;

/// The allowed peak, in bytes.
const MOST: u64 = 300_000_000;

/// Bytes of an endless word: some pieces.
const WORD: usize = 3_000_000;

/// Bytes of the file of prose, more than `evaluate` reads; other files are smaller.
fn size() -> usize {
    let megabytes = std::env::var("BSBR_TEXT_MB");
    megabytes.map_or(70, |megabytes| megabytes.parse().unwrap()) * 1_000_000
}

/// The model of all commands.
fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/bundled")
}

/// Some different texts.
fn texts() -> Vec<String> {
    let book = Storybook::new(5);
    let text = |at: usize| {
        let domain = Domain::ALL[at % Domain::ALL.len()];
        book.plain(Split::Test, domain, at as u64, 2000).text
    };
    (0..60).map(text).collect()
}

/// Writes texts, each a little different, until a file has so many bytes.
fn write(path: &Path, size: usize, form: impl Fn(String) -> String) {
    let texts = texts();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut written = 0;
    for (number, text) in texts.iter().cycle().enumerate() {
        if written >= size {
            break;
        }
        let text = form(format!("Text {number}. {text}"));
        written += text.len();
        file.write_all(text.as_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn prose(folder: &Path) -> PathBuf {
    let path = folder.join("prose.txt");
    write(&path, size(), |text| text);
    path
}

/// Letters in no order, without a place between words.
fn word(folder: &Path) -> PathBuf {
    let path = folder.join("word.txt");
    let mut state = 7u64;
    let letter = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b'a' + ((state >> 33) % 26) as u8
    };
    fs::write(&path, (0..WORD).map(letter).collect::<Vec<u8>>()).unwrap();
    path
}

fn lines(folder: &Path) -> PathBuf {
    let path = folder.join("lines.jsonl");
    let line = |text| format!("{}\n", serde_json::json!({ "text": text }));
    write(&path, size() / 4, line);
    path
}

fn table(folder: &Path) -> PathBuf {
    let path = folder.join("table.parquet");
    let texts = texts();
    let rows: Vec<&str> = texts.iter().cycle().take(400).map(String::as_str).collect();
    write_texts(&path, &[("text", &rows)], Form::default());
    path
}

fn files(folder: &Path) -> [PathBuf; 4] {
    [prose(folder), word(folder), lines(folder), table(folder)]
}

/// The greatest number of bytes of memory that a process has held; `None` if it has ended.
fn peak(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: u64 = line?.trim().strip_suffix(" kB")?.parse().unwrap();
    Some(kilobytes * 1024)
}

/// Checks and prints a peak.
fn check(what: &str, path: &Path, peak: u64, begun: Instant) {
    let file = path.file_name().unwrap().display();
    let bytes = path.metadata().unwrap().len();
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{what}, {file} of {bytes} bytes: peak of {peak} bytes, {seconds:.1} s");
    assert!(peak < MOST, "{what}, {file}: {peak} bytes");
}

/// What a command wrote to standard error, and whether it succeeded. Its memory is limited.
fn measured(args: &[&str], path: &Path, out: &Path) -> (bool, String) {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .arg(path)
        .args(match args[0] {
            "evaluate" => vec!["--out".into(), out.to_owned()],
            _ => Vec::new(),
        })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        // A process that has ended has no such line.
        most = peak(&child.id().to_string()).unwrap_or(most);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(most > 0);
    check(args[0], path, most, begun);
    (child.wait().unwrap().success(), said.join().unwrap())
}

/// The texts of fine-tuning.
#[test]
fn reading_for_training_takes_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TextTokenizer::from_folder(bundled()).unwrap();
    for file in files(folder.path()) {
        // From here on.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let begun = Instant::now();
        let paths = [file.clone()];
        let data = Dataset::texts(&tokenizer, &paths, 1024, folder.path()).unwrap();
        assert!(data.windows() > 100);
        check("finetune", &file, peak("self").unwrap(), begun);
    }
}

#[test]
fn a_text_for_a_model_of_fewer_positions_is_refused_early() {
    let folder = tempfile::tempdir().unwrap();
    let bundled = bundled().display().to_string();
    for file in [prose(folder.path()), word(folder.path())] {
        for (command, option) in [("generate", "--prompt-file"), ("ask", "--document")] {
            let args = [command, "--model", &bundled, option];
            let (succeeded, said) = measured(&args, &file, folder.path());
            assert!(
                !succeeded && said.contains("the model has 4096 positions"),
                "{said}"
            );
        }
    }
}

#[test]
fn comparing_on_files_takes_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let bundled = bundled().display().to_string();
    for file in files(folder.path()) {
        let quick = ["--only", "perplexity", "--quick", "--data"];
        let args = [&["evaluate", "--model", &bundled], &quick[..]].concat();
        let out = file.with_extension("records");
        let (succeeded, said) = measured(&args, &file, &out);
        assert!(succeeded, "{said}");
        let is_long = file.metadata().unwrap().len() > 64 << 20;
        assert_eq!(said.contains("only the first 64 MiB"), is_long, "{said}");
    }
}
