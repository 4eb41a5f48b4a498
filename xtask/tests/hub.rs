//! From the Hub to a published folder: a small Hub on the loopback interface serves a tiny GPT-2
//! and tiny datasets to the commands.
#![allow(clippy::unwrap_used)]

#[path = "../../crates/bsbr-hub/tests/common/mod.rs"]
mod hub;
#[path = "../../crates/bsbr-data/tests/common/parquet.rs"]
mod parquet_file;
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hub::{COMMIT, Fixture, MODEL, Served};
use parquet_file::{Form, write_texts};
use tiny::model;

/// Files of WikiText and CNN/DailyMail, in the repository's layout.
fn datasets(folder: &Path) {
    let train = vec![" The lamp was in the attic , as Mara said . \n"; 60];
    let mut test = vec!["", " = The lamp = \n", ""];
    test.extend(vec![
        " It was a well @-@ known lamp of 1 @,@ 000 years . \n";
        60
    ]);
    let file = |name: &str| folder.join(name);
    write_texts(&file("train.parquet"), &[("text", &train)], Form::default());
    write_texts(&file("test.parquet"), &[("text", &test)], Form::default());
    let columns: [(&str, &[&str]); 3] = [
        ("article", &["Mara found a lamp. It was old. So it was."; 3]),
        ("highlights", &["Mara found a lamp .\nIt was old ."; 3]),
        ("id", &["1", "2", "3"]),
    ];
    write_texts(&file("news.parquet"), &columns, Form::default());
}

/// The specifications of the repository, shrunk to the tiny model, with datasets of the miniature.
fn experiments(folder: &Path) {
    let arms = r#"
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
config = { arm = "moments", chunk_size = 16, clusters = 4, sink_tokens = 2, kv_bits = 8 }
"#;
    let head = |name: &str, order: u32| {
        format!(
            "experiment = \"{name}\"\ntitle = \"{name}\"\nquestion = \"?\"\norder = {order}\n\
             seed = 1\narms = [\"dense\", \"moments\"]\n"
        )
    };
    let agreement = "[settings]\nlength = 80\n[counts]\ntexts_per_domain = 4\nper_unit = 2\n\
                     [quick]\ntexts_per_domain = 2\n";
    let perplexity = "[settings]\nwindow = 64\nstrides = [64, 32]\n[counts]\ntokens = 500\n\
                      storybook_tokens = 500\npieces = 100\nper_unit = 2\n[quick]\ntokens = 150\n\
                      [[settings.published]]\nmodel = \"small-gpt2\"\nlayers = 2\nhidden_size = 32\n\
                      texts = \"WikiText-2\"\nvalue = 29.41\nsource = \"A paper\"\n";
    let summarisation = "[settings]\nmax_new_tokens = 6\nstemming = true\n\
                         extension = { repeat_last = { window = 512 } }\n\
                         [counts]\narticles = 3\nper_unit = 2\n[quick]\narticles = 1\n";
    let datasets = format!(
        r#"
default = ["wikitext-2", "cnn-dailymail"]

[[dataset]]
id = "wikitext-2"
label = "WikiText-2"
repository = "{MODEL}"
revision = "{COMMIT}"
columns = {{ kind = "lines", text = "text" }}
splits = {{ train = ["wiki/train.parquet"], validation = [], test = ["wiki/test.parquet"] }}

[[dataset]]
id = "cnn-dailymail"
label = "CNN/DailyMail 3.0.0"
repository = "{MODEL}"
revision = "{COMMIT}"
columns = {{ kind = "articles", article = "article", highlights = "highlights" }}
splits = {{ train = ["not/there.parquet"], validation = [], test = ["news/test.parquet"] }}
"#
    );
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    write("arms.toml", arms.to_owned());
    write("datasets.toml", datasets);
    for (order, (name, own)) in (1..).zip([
        ("agreement", agreement),
        ("perplexity", perplexity),
        ("summarisation", summarisation),
    ]) {
        let [keys, section] = committed(name);
        let text = format!("{}{keys}\n{own}\n{section}", head(name, order));
        write(&format!("{name}.toml"), text);
    }
}

/// What the committed specification of an experiment shows: the keys that belong to no table, and the
/// tables from the quantities on.
fn committed(name: &str) -> [String; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/experiments");
    let text = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
    let (head, _) = text.split_once("\n[").unwrap();
    let keys = &head[head.find("\nat = ").unwrap() + 1..];
    let section = &text[text.find("[quantities]").unwrap()..];
    [keys, section].map(str::to_owned)
}

/// The miniature, and folders to work in.
struct World {
    served: Served,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        model(&made);
        datasets(&made);
        let experiments_folder = folder.path().join("experiments");
        fs::create_dir(&experiments_folder).unwrap();
        experiments(&experiments_folder);
        let read = |name: &str| fs::read(made.join(name)).unwrap();
        let served = Fixture::default()
            .file("config.json", read("config.json"))
            .file("tokenizer.json", read("tokenizer.json"))
            .file("tokenizer_config.json", "{\"model_max_length\": 128}")
            .file("generation_config.json", "{\"eos_token_id\": [1, 2]}")
            .file("chat_template.jinja", "{{ messages }}")
            .file("additional_chat_templates/tools.jinja", "{{ tools }}")
            .file("LICENSE", "free")
            .file("README.md", "of the original")
            .large("tf_model.h5", b"tensors".to_vec())
            .large("model.safetensors", read("model.safetensors"))
            .large("wiki/train.parquet", read("train.parquet"))
            .large("wiki/test.parquet", read("test.parquet"))
            .large("news/test.parquet", read("news.parquet"))
            .serve();
        Self { served, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command as a user would, with the miniature for the Hub; what it said, and whether it
    /// went well.
    fn xtask(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .env("HF_ENDPOINT", self.served.hub.url())
            .env("HF_HUB_CACHE", self.served.cache())
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("HF_TOKEN")
            .env("HF_TOKEN_PATH", self.path("no-token"))
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let (well, said) = self.xtask(arguments);
        assert!(well, "{arguments:?}: {said}");
        said
    }

    fn reproduce(&self, out: &str, more: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let (out, experiments) = (path(out), path("experiments"));
        // The committed overview is of arms that are not here.
        let overview = path("overview.toml");
        fs::write(&overview, "").unwrap();
        let mut arguments = vec!["reproduce", "--quick", "--model", MODEL, "--out", &out];
        arguments.extend(["--experiments", &experiments, "--overview", &overview]);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn a_model_and_its_texts_come_from_the_hub_and_go_back_as_a_folder_to_publish() {
    let world = World::new();
    let display = |name: &str| world.path(name).display().to_string();

    // Measured on the datasets, for the model's tokenizer is not the bundled one.
    let arguments = world.reproduce("results", &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.succeeds(&arguments);
    let read = |name: &str| fs::read_to_string(world.path("results").join(name)).unwrap();
    let perplexity = read("perplexity.md");
    for part in ["Perplexity on WikiText-2", "| 29.41 |", "small-gpt2"] {
        assert!(perplexity.contains(part), "{part}: {perplexity}");
    }
    let summaries = read("summarisation.md");
    assert!(summaries.contains("CNN/DailyMail 3.0.0"), "{summaries}");
    // What is not needed is not fetched.
    assert!(world.served.asked().contains(&"train.parquet".to_owned()));
    assert!(!world.served.asked().contains(&"there.parquet".to_owned()));

    // Converted, with a card that holds what was measured.
    let arm = ["--arm", "moments:chunk_size=16,clusters=4,sink_tokens=2"];
    let (converted, results) = (display("converted"), display("results"));
    let mut arguments = vec!["convert", "--model", MODEL, "--out", &converted];
    arguments.extend(["--results", &results]);
    arguments.extend(arm);
    world.succeeds(&arguments);
    let card = fs::read_to_string(world.path("converted/README.md")).unwrap();
    for part in [
        "base_model: \"owner/small-gpt2\"",
        &format!("at commit {COMMIT}"),
        "| 0–1 | `moments` |",
        "## Measured",
        "agreement: same most likely token as the original, 80",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    // Records of another arm are no measurement of this one.
    let other = display("other");
    let arguments = [
        "convert",
        "--model",
        MODEL,
        "--out",
        &other,
        "--results",
        &results,
        "--arm",
        "local",
    ];
    let (well, said) = world.xtask(&arguments);
    assert!(!well && said.contains("--results"), "{said}");
    assert!(!world.path("other").exists());

    // Its own folder is the source of an export with the original attention: the same weights.
    let exported = display("exported");
    let arguments = [
        "convert", "--model", &converted, "--out", &exported, "--arm", "dense",
    ];
    world.succeeds(&arguments);
    let weights = |name: &str| fs::read(world.path(name).join("model.safetensors")).unwrap();
    assert_eq!(weights("exported"), weights("made"));
    let config = fs::read_to_string(world.path("exported/config.json")).unwrap();
    assert!(!config.contains("moments"), "{config}");
    let card = fs::read_to_string(world.path("exported/README.md")).unwrap();
    assert!(card.contains("library_name: \"transformers\""), "{card}");
    // Never over what is there.
    fs::write(world.path("exported/README.md"), "mine").unwrap();
    assert!(!world.xtask(&arguments).0);
    let kept = fs::read_to_string(world.path("exported/README.md")).unwrap();
    assert_eq!(kept, "mine");
}

/// A name and the folder that has the same files give the same.
#[test]
fn what_stands_beside_the_weights_goes_along_from_the_hub_and_from_a_folder() {
    let world = World::new();
    let display = |name: &str| world.path(name).display().to_string();
    let (by_name, by_path) = (display("by-name"), display("by-path"));
    let convert = |model: &str, out: &str| {
        world.succeeds(&["convert", "--model", model, "--out", out, "--arm", "dense"]);
    };
    convert(MODEL, &by_name);
    let snapshot = world.served.cache();
    let snapshot = snapshot
        .join("models--owner--small-gpt2/snapshots")
        .join(COMMIT);
    convert(&snapshot.display().to_string(), &by_path);
    let expected = [
        "LICENSE",
        "README.md",
        "additional_chat_templates/tools.jinja",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    for out in ["by-name", "by-path"] {
        let out = world.path(out);
        assert_eq!(hub::tree(&out), expected);
        for name in ["LICENSE", "generation_config.json", "tokenizer_config.json"] {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&out), read(&snapshot), "{name}");
        }
        let card = fs::read_to_string(out.join("README.md")).unwrap();
        assert!(!card.contains("of the original"), "{card}");
    }
    assert!(!world.served.asked().contains(&"tf_model.h5".to_owned()));
    // Without the network, the cache is enough.
    let offline = display("offline");
    world.succeeds(&[
        "convert",
        "--model",
        MODEL,
        "--out",
        &offline,
        "--arm",
        "dense",
        "--offline",
    ]);
    assert_eq!(hub::tree(&world.path("offline")), expected);
}

#[test]
fn trained_models_have_a_card_with_what_training_noted() {
    let world = World::new();
    let (out, experiments) = (
        world.path("tuned").display().to_string(),
        world.path("experiments").display().to_string(),
    );
    let mut arguments = vec![
        "finetune", "--model", MODEL, "--out", &out, "--window", "32",
    ];
    arguments.extend(["--data", "wikitext-2", "--experiments", &experiments]);
    arguments.extend(["--arm", "moments:chunk_size=16,clusters=4"]);
    world.succeeds(&arguments);
    let card = fs::read_to_string(world.path("tuned/README.md")).unwrap();
    for part in [
        "base_model:",
        "## Training",
        "Trained on WikiText-2",
        "| 0 |",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
}

#[test]
fn a_dataset_out_of_reach_is_an_error_that_says_what_to_do() {
    let world = World::new();
    // The model is in the cache, the datasets are not.
    let path = world.path("copy").display().to_string();
    world.succeeds(&[
        "convert", "--model", MODEL, "--out", &path, "--arm", "dense",
    ]);
    let arguments = world.reproduce("results", &["--offline"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (well, said) = world.xtask(&arguments);
    assert!(!well);
    for part in ["--data storybook", "WikiText-2", "offline"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let arguments = world.reproduce("results", &["--offline", "--data", "storybook"]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--only", "agreement"]);
    world.succeeds(&arguments);
}
