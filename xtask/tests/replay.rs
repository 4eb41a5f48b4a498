//! Replays the inputs of the fuzz targets, which read untrusted files and requests: the committed
//! seeds, and deterministic mutations of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../fuzz/inputs.rs"]
mod inputs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bsbr_train::checkpoint;
use inputs::TARGETS;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// Changed copies of each seed.
const COPIES: u64 = 60;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds")
}

/// The seeds of a reader: committed files, or files written now if their format depends on the
/// version.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "cache" => return vec![inputs::a_cache()],
        "checkpoint" => return vec![a_checkpoint()],
        "parquet" => return vec![a_parquet_file()],
        _ => {}
    }
    let listing = std::fs::read_dir(folder().join(target)).expect(target);
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn a_checkpoint() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (identity, state) = (inputs::identity(), inputs::state());
    std::fs::read(checkpoint::save(folder.path(), &state, &identity).unwrap()).unwrap()
}

fn a_parquet_file() -> Vec<u8> {
    let schema = parse_message_type("message m { OPTIONAL BYTE_ARRAY text (UTF8); }").unwrap();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::default()).unwrap();
    for texts in [["one", "two"], ["two", "three"]] {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values = texts.map(ByteArray::from);
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(&[1, 0, 1]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// Writes the seeds that are in no file to the folder that `BSBR_SEEDS` names, for libFuzzer.
#[test]
fn seeds_that_are_made_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let into = std::env::var_os("BSBR_SEEDS").map(|folder| root.join(folder));
    for target in ["cache", "checkpoint", "parquet"] {
        for (number, seed) in seeds(target).iter().enumerate() {
            assert!(!seed.is_empty(), "{target}");
            if let Some(folder) = &into {
                let folder = folder.join(target);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(number.to_string()), seed).unwrap();
            }
        }
    }
}

/// A copy with some bytes changed, cut, doubled or moved, as `number` says.
fn changed(seed: &[u8], number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=next(4) {
        let (at, end) = (next(bytes.len()), next(bytes.len()));
        let part = at.min(end)..at.max(end);
        match next(6) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << next(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 0xff, 0x7f, b'"', b'9', b'\n'][next(6)],
            3 => drop(bytes.drain(part)),
            4 => {
                let again = bytes[part.start..part.end.min(part.start + 64)].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.splice(at..at, [next(256) as u8; 8]).for_each(drop),
        }
    }
    bytes
}

#[test]
fn seeds_and_what_is_made_of_them_are_read_or_refused() {
    for (target, read) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        for (number, seed) in seeds.iter().enumerate() {
            read(seed);
            for copy in 0..COPIES {
                let bytes = changed(seed, (number as u64) << 32 | copy);
                let start = Instant::now();
                read(&bytes);
                let elapsed = start.elapsed();
                assert!(
                    elapsed < Duration::from_secs(10),
                    "{target}, copy {copy}: {elapsed:?}"
                );
            }
        }
    }
}

/// Every reader has a fuzz target, and every target a reader.
#[test]
fn every_reader_is_fuzzed() {
    let listing = std::fs::read_dir(folder().join("../fuzz_targets")).unwrap();
    let mut names: Vec<String> = listing
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name.to_owned()));
}
