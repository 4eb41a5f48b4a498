//! Commands that are killed at random again and again, or find damaged files, end like an
//! undisturbed one and leave nothing behind.
//!
//! A short form runs with every test; `BSBR_KILLS=50 cargo test -p xtask --test torture` is the
//! long form.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stderr)] // what is skipped is said

#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(target_os = "linux")]
mod soak;
#[path = "../tiny/mod.rs"]
mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Kills of each command; those of commands that take seconds are fewer in the short form.
fn kills(few: u64) -> u64 {
    let kills = std::env::var("BSBR_KILLS");
    kills.map_or(few, |kills| kills.parse().unwrap())
}

/// A time below `most`, another one for each number.
fn moment(number: u64, most: Duration) -> Duration {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    most.mul_f64((state >> 11) as f64 / (1u64 << 53) as f64)
}

fn start(words: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(words: &[String]) -> Output {
    start(words).wait_with_output().unwrap()
}

/// Runs a command to its end; gives what it said on standard error.
fn run(words: &[String]) -> String {
    let ended = end(words);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{words:?}: {said}");
    said
}

/// A command with options whose values are places.
fn words(command: &[&str], places: &[(&str, PathBuf)]) -> Vec<String> {
    let places = places
        .iter()
        .flat_map(|(name, path)| [format!("--{name}"), path.display().to_string()]);
    let command = command.iter().map(ToString::to_string);
    command.chain(places).collect()
}

/// What a command wrote, by name.
type Content = BTreeMap<String, Vec<u8>>;

/// A command that writes into a place of its own.
struct Tortured<'a> {
    /// Its words.
    command: &'a dyn Fn(&Path) -> Vec<String>,
    /// What is in the place, of all that has to be the same every time. Each is there whole or not at
    /// all.
    content: &'a dyn Fn(&Path) -> Content,
    /// What is done to the place before the last run.
    damage: &'a dyn Fn(&Path),
    /// Names that stay in the place.
    known: &'a [&'a str],
    /// Kills in the short form.
    few: u64,
}

/// Paths in a folder and its subfolders that are temporary or not among the known names.
fn others(folder: &Path, known: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains(".bsbr-") || !(known.is_empty() || known.contains(&name.as_str())) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(others(&path, &[]));
        }
    }
    found
}

impl Tortured<'_> {
    /// Kills the command again and again, lets it end, and compares.
    fn torture(&self) {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (undisturbed, killed) = (place("undisturbed"), place("killed"));
        let begun = Instant::now();
        run(&(self.command)(&undisturbed));
        let whole = begun.elapsed();
        let expected = (self.content)(&undisturbed);
        assert!(!expected.is_empty());
        for number in 0..kills(self.few) {
            let mut child = start(&(self.command)(&killed));
            std::thread::sleep(moment(number, whole));
            child.kill().unwrap();
            child.wait().unwrap();
            for (name, bytes) in (self.content)(&killed) {
                assert_eq!(Some(&bytes), expected.get(&name), "kill {number}: {name}");
            }
            // A finished command starts again, so that there is something to kill.
            if (self.content)(&killed).len() == expected.len() {
                fs::remove_dir_all(&killed).unwrap();
                fs::create_dir(&killed).unwrap();
            }
        }
        (self.damage)(&killed);
        run(&(self.command)(&killed));
        assert_eq!((self.content)(&killed), expected);
        assert_eq!(others(&killed, self.known), Vec::<PathBuf>::new());
    }
}

/// Files of safetensors with the keys of their headers in order: metadata are written in any.
fn sorted(mut files: Content) -> Content {
    for bytes in files.values_mut() {
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            continue;
        };
        let length = u64::from_le_bytes(*length) as usize;
        let Some((header, tensors)) = rest.split_at_checked(length) else {
            continue;
        };
        let header: serde_json::Value = serde_json::from_slice(header).unwrap();
        *bytes = [header.to_string().as_bytes(), tensors].concat();
    }
    files
}

/// The files of a folder that exist, by name.
fn files(folder: &Path, names: &[&str]) -> Content {
    let file = |name: &&str| Some((name.to_string(), fs::read(folder.join(name)).ok()?));
    names.iter().filter_map(file).collect()
}

/// What a model folder holds, but for its card and records, which name the folder.
fn model_in(place: &Path) -> Content {
    let content = files(&place.join("out"), &["config.json", "model.safetensors"]);
    // A folder is there whole or not at all.
    assert!(
        content.is_empty() || content.len() == 2,
        "{:?}",
        content.keys()
    );
    content
}

fn model(positions: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    tiny::model_of(positions, &path);
    (folder, path)
}

/// Changes a byte of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The checkpoints of a run, the newest last.
fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .collect();
    paths.sort();
    paths
}

const TRAINING: [&str; 12] = [
    "finetune",
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
    let (_folder, model) = model(96);
    Tortured {
        command: &|place| {
            let places = [("model", model.clone()), ("out", place.join("out"))];
            words(&["convert"], &places)
        },
        content: &model_in,
        damage: &|_| {},
        known: &["out"],
        few: 4,
    }
    .torture();
}

/// A run does not resume from a damaged checkpoint, but from the one before it.
#[test]
fn fine_tuning_survives_kills() {
    let (_folder, model) = model(96);
    Tortured {
        command: &|place| {
            let places = [("model", model.clone()), ("out", place.join("out"))];
            words(&TRAINING, &places)
        },
        content: &model_in,
        damage: &|place| {
            let newest = checkpoints(&place.join("out.checkpoints")).pop();
            newest.iter().for_each(|path| damage(path));
        },
        known: &["out", "out.checkpoints"],
        few: 4,
    }
    .torture();
}

const PRETRAINING: &str = r#"
seed = 3

[model]
n_positions = 32
n_embd = 16
n_layer = 1
n_head = 2

[optimizer]
matrix_lr = 0.01
other_lr = 0.003
position_lr = 0.0003
weight_decay = 0.1
warmup_steps = 2
schedule_steps = 40
final_share = 0.05
clip_norm = 1.0

[[stages]]
steps = 40
rows = 4
micro_rows = 2

[stages.stream]
seed = 3
split = "train"
window = 32
fact_share = 1.0
article_share = 0.35
people = [4, 8]
kinds = ["surname", "home"]
facts_per_person = 2.0
questions_share = 0.5
domains = ["tale", "news"]
answer_weight = 5.0
"#;

#[test]
fn pretraining_survives_kills() {
    let (folder, model) = model(96);
    let config = folder.path().join("run.toml");
    fs::write(&config, PRETRAINING).unwrap();
    Tortured {
        command: &|place| {
            let fixed = [
                "pretrain",
                "--checkpoint-minutes",
                "0",
                "--validate-every",
                "1000",
            ];
            let places = [
                ("config", config.clone()),
                ("tokenizer", model.clone()),
                ("checkpoints", place.join("checkpoints")),
                ("out", place.join("out")),
            ];
            words(&fixed, &places)
        },
        content: &model_in,
        damage: &|place| {
            let newest = checkpoints(&place.join("checkpoints")).pop();
            newest.iter().for_each(|path| damage(path));
        },
        known: &["out", "checkpoints"],
        few: 2,
    }
    .torture();
}

/// What was read is in the file whole, or not at all.
#[test]
fn reading_into_a_cache_survives_kills() {
    let (folder, model) = model(4096);
    let text = folder.path().join("text.txt");
    fs::write(
        &text,
        "Edda keeps a lamp in the old house by the sea. ".repeat(150),
    )
    .unwrap();
    Tortured {
        command: &|place| {
            let places = [
                ("model", model.clone()),
                ("prompt-file", text.clone()),
                ("cache", place.join("cache")),
            ];
            words(&["generate", "--max-new-tokens", "4"], &places)
        },
        content: &|place| sorted(files(place, &["cache"])),
        damage: &|_| {},
        known: &["cache"],
        few: 4,
    }
    .torture();
    let cache = folder.path().join("cache");
    let places = [
        ("model", model.clone()),
        ("prompt-file", text),
        ("cache", cache.clone()),
    ];
    let command = words(&["generate", "--max-new-tokens", "4"], &places);
    run(&command);
    let first = end(&command).stdout;
    assert_eq!(end(&command).stdout, first);
    damage(&cache);
    let refused = end(&command);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("damaged"),
        "{said}"
    );
}

const ARMS: &str = r#"
[[arm]]
id = "dense"
label = "dense"
about = "the original"
config = { arm = "dense" }

[[arm]]
id = "moments"
label = "moments"
about = "the default"
default = true
config = { arm = "moments", clusters = 4, sink_tokens = 2, exact_clusters = 2 }
"#;

/// A folder with one experiment that takes a moment, and the file of a first screen without a claim.
fn experiments(folder: &Path) -> [PathBuf; 2] {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/experiments");
    let text = fs::read_to_string(committed.join("agreement.toml")).unwrap();
    let lines = text.lines().map(|line| match line.split(" = ").next() {
        Some("arms") => "arms = [\"dense\", \"moments\"]",
        Some("chunk_size") => "chunk_size = 16",
        Some("length") => "length = 80",
        Some("per_unit") => "per_unit = 1",
        _ => line,
    });
    let specification: Vec<&str> = lines.collect();
    let own = folder.join("experiments");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("agreement.toml"), specification.join("\n")).unwrap();
    fs::write(own.join("arms.toml"), ARMS).unwrap();
    fs::copy(committed.join("datasets.toml"), own.join("datasets.toml")).unwrap();
    let overview = folder.join("overview.toml");
    fs::write(&overview, "").unwrap();
    [own, overview]
}

/// The measurements of each record.
fn records(place: &Path) -> Content {
    let folder = place.join("out/records/agreement");
    let mut content = Content::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "json") {
            let text = fs::read_to_string(&path).unwrap();
            let record: serde_json::Value = serde_json::from_str(&text).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            content.insert(name, record["measurements"].to_string().into_bytes());
        }
    }
    content
}

/// A record that was damaged is made again.
#[test]
fn reproducing_survives_kills() {
    let (folder, model) = model(96);
    let [experiments, overview] = experiments(folder.path());
    Tortured {
        command: &|place| {
            let places = [
                ("model", model.clone()),
                ("experiments", experiments.clone()),
                ("overview", overview.clone()),
                ("out", place.join("out")),
            ];
            words(&["reproduce", "--data", "storybook"], &places)
        },
        content: &records,
        damage: &|place| {
            if let Some(name) = records(place).into_keys().next() {
                damage(&place.join("out/records/agreement").join(name));
            }
        },
        known: &["out"],
        few: 3,
    }
    .torture();
}

#[test]
fn of_two_processes_in_one_place_the_second_is_refused() {
    let (folder, model) = model(96);
    let out = folder.path().join("out");
    let of = |more: &[&str]| {
        let places = [("model", model.clone()), ("out", out.clone())];
        words(&[&TRAINING[..], more].concat(), &places)
    };
    let many = of(&["--seed", "3"]);
    let mut first = start(&many);
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
    let second = end(&of(&[]));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    // The system has released the lock.
    run(&many);
}
