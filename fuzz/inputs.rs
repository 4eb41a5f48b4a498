//! What reads bytes from strangers, each as a function of them. Nothing may panic, hang or ask for more
//! memory than the bytes are worth; whether they are understood does not matter.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use bsbr_attention::ArmConfig;
use bsbr_convert::{CacheOwner, Checkpoint, LayerArms, ModelFolder, load_cache, save_cache};
use bsbr_data::dataset::pieces;
use bsbr_data::tokenizer::{PieceEncoder, TextTokenizer};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use bsbr_report::record::Record;
use bsbr_report::spec::{ArmSpec, Overrides, parse_spec, read_arms};
use bsbr_train::PretrainConfig;
use bsbr_train::checkpoint::{RunIdentity, State, load_newest};
use bsbr_train::config::AdamW;
use bsbr_train::optimizer::Optimizer;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[allow(dead_code)]
#[path = "../xtask/src/commands/judge/http.rs"]
mod http;

/// A reader with its name, which is that of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every reader.
#[allow(dead_code)] // Each fuzz target has its own.
pub const TARGETS: [Target; 16] = [
    ("arm", arm),
    ("cache", cache),
    ("checkpoint", checkpoint),
    ("config", config),
    ("index", index),
    ("json", json),
    ("judge", judge),
    ("parquet", parquet),
    ("pickle", pickle),
    ("plain", plain),
    ("pretrain", pretrain),
    ("record", record),
    ("safetensors", safetensors),
    ("side_files", side_files),
    ("specification", specification),
    ("tokenizer", tokenizer),
];

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Calls `read` with a folder of this thread's own, in which the last files still lie.
fn in_folder<T>(read: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder"));
        read(folder.path())
    })
}

fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    in_folder(|folder| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("a file");
        read(&path);
    });
}

pub fn arm(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(arm) = ArmConfig::from_str(&text) {
        let again = ArmConfig::from_str(&arm.to_string()).expect("its own form is read");
        assert_eq!(again, arm, "{text}");
    }
    let _ = LayerArms::from_str(&text);
}

pub fn config(bytes: &[u8]) {
    if let Ok(config) = Gpt2Config::from_json(&String::from_utf8_lossy(bytes)) {
        let again = config.to_json().expect("what was read is written");
        Gpt2Config::from_json(&again).expect("and read again");
    }
}

pub fn safetensors(bytes: &[u8]) {
    with_file("model.safetensors", bytes, tensors);
}

pub fn pickle(bytes: &[u8]) {
    with_file("pytorch_model.bin", bytes, tensors);
}

fn tensors(path: &Path) {
    if let Ok(found) = Checkpoint::open_file(path) {
        for tensor in found.tensors() {
            let _ = tensor.to_f32();
        }
    }
}

pub fn index(bytes: &[u8]) {
    with_file("model.safetensors.index.json", bytes, |path| {
        let folder = path.parent().expect("a folder");
        let _ = fs::remove_file(folder.join("model.safetensors"));
        let _ = fs::write(folder.join("config.json"), "{}");
        if let Ok(folder) = ModelFolder::open(folder) {
            let _ = Checkpoint::open(&folder);
        }
    });
}

pub fn tokenizer(bytes: &[u8]) {
    if let Ok(tokenizer) = TextTokenizer::from_bytes(bytes) {
        use_it(&tokenizer);
    }
}

/// The first byte says which file it is.
pub fn side_files(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let names = [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ];
    in_folder(|folder| {
        let tokenizer = folder.join("tokenizer.json");
        if !tokenizer.exists() {
            fs::write(tokenizer, include_bytes!("seeds/tokenizer/tiny")).expect("a file");
        }
        for name in names {
            let _ = fs::remove_file(folder.join(name));
        }
        let name = names[usize::from(*first) % names.len()];
        fs::write(folder.join(name), bytes).expect("a file");
        if let Ok(tokenizer) = TextTokenizer::from_folder(folder) {
            use_it(&tokenizer);
        }
    });
}

fn use_it(tokenizer: &TextTokenizer) {
    if let Ok(ids) = tokenizer.encode(" It is 3 o'clock.\n<|endoftext|> \u{e9}") {
        let _ = tokenizer.decode(&ids);
    }
    let _ = (tokenizer.end_of_text(), tokenizer.fits(600));
}

pub fn json(bytes: &[u8]) {
    for name in ["a.jsonl", "a.json", "a.json.gz", "a.json.zst"] {
        with_file(name, bytes, texts);
    }
}

pub fn parquet(bytes: &[u8]) {
    with_file("a.parquet", bytes, texts);
}

fn texts(path: &Path) {
    if let Ok(found) = pieces(path) {
        found.take(10_000).for_each(drop);
    }
}

/// A text in parts of any sizes has the ids of the whole text.
pub fn plain(bytes: &[u8]) {
    thread_local! {
        static GOLDEN: TextTokenizer =
            TextTokenizer::from_bytes(include_bytes!("seeds/tokenizer/golden")).expect("a tokenizer");
    }
    with_file("a.txt", bytes, texts);
    let text = String::from_utf8_lossy(bytes);
    GOLDEN.with(|golden| {
        let (mut encoder, mut ids) = (PieceEncoder::new(golden), Vec::new());
        let mut rest: &str = &text;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.ceil_char_boundary(3));
            encoder.push(now, &mut ids).expect("a text");
            rest = later;
        }
        encoder.finish(&mut ids).expect("a text");
        assert_eq!(ids, golden.encode(&text).expect("a text"));
    });
}

pub fn specification(bytes: &[u8]) {
    thread_local! {
        static ARMS: Vec<ArmSpec> = arms();
    }
    let text = String::from_utf8_lossy(bytes);
    ARMS.with(|arms| {
        let _ = parse_spec(Path::new("a.toml"), &text, arms, &Overrides::default());
    });
    with_file("arms.toml", bytes, |path| drop(read_arms(path)));
}

fn arms() -> Vec<ArmSpec> {
    let path = in_folder(|folder| folder.join("known.toml"));
    fs::write(&path, include_bytes!("seeds/specification/arms.toml")).expect("a file");
    read_arms(&path).expect("the arms")
}

pub fn pretrain(bytes: &[u8]) {
    if let Ok(config) = toml::from_str::<PretrainConfig>(&String::from_utf8_lossy(bytes)) {
        let _ = config.validate();
    }
}

pub fn record(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Record>(bytes);
}

pub fn judge(bytes: &[u8]) {
    let _ = http::parse(bytes);
}

thread_local! {
    static TINY: Gpt2 = tiny();
}

fn tiny() -> Gpt2 {
    let config = r#"{"model_type": "gpt2", "vocab_size": 7, "n_positions": 4, "n_embd": 4,
        "n_layer": 1, "n_head": 1, "bos_token_id": null, "eos_token_id": null}"#;
    let config = Gpt2Config::from_json(config).expect("a configuration");
    let model = Gpt2::zeros(&config, &Device::default());
    model.expect("a model").train()
}

pub fn identity() -> RunIdentity {
    RunIdentity::new("a hash".to_owned(), Vec::new())
}

/// A run of a tiny model before its first step.
pub fn state() -> State {
    let model = TINY.with(Gpt2::clone);
    State::new(model, Optimizer::adamw(&AdamW::default()))
}

/// The bytes as they are, and with the checksum that an attacker would give them.
pub fn checkpoint(bytes: &[u8]) {
    let sealed = sealed(bytes, |header, tensors| {
        header.insert("run".to_owned(), "a hash".to_owned());
        header.remove("sha256");
        let mut header: Vec<_> = header.iter().collect();
        header.sort_unstable();
        let header = header
            .iter()
            .flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
        let mut tensors = tensors.to_vec();
        tensors.sort_unstable();
        let tensors = tensors
            .iter()
            .flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        let mut hash = Sha256::new();
        for part in header.chain(tensors) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        ("sha256", hash)
    });
    for bytes in std::iter::once(bytes).chain(sealed.as_deref()) {
        with_file("step-00000001.safetensors", bytes, |path| {
            let folder = path.parent().expect("a folder");
            let _ = load_newest(folder, &identity(), || Ok(state()));
        });
    }
    // Burn drops what it has noted of gradients of dropped weights when it next computes some.
    let device = Device::default().autodiff();
    Tensor::<1>::zeros([1], &device).require_grad().backward();
}

/// A file of safetensors with a header that is changed, and a checksum in it by name.
fn sealed(
    bytes: &[u8],
    seal: impl FnOnce(&mut HashMap<String, String>, &[(&str, &[u8])]) -> (&'static str, Sha256),
) -> Option<Vec<u8>> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let mut header = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes).ok()?;
    let tensors = file.tensors();
    let lists: Vec<(&str, &[u8])> = tensors
        .iter()
        .map(|(name, view)| (name.as_str(), view.data()))
        .collect();
    let (key, hash) = seal(&mut header, &lists);
    let sum = hash.finalize();
    let sum = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    header.insert(key.to_owned(), sum);
    safetensors::serialize(tensors, Some(header)).ok()
}

/// A tiny model that looks clusters up, and who reads with it.
fn reader() -> (Gpt2, CacheOwner) {
    let config = r#"{"model_type": "gpt2", "vocab_size": 7, "n_positions": 64, "n_embd": 8,
        "n_layer": 2, "n_head": 2, "bos_token_id": null, "eos_token_id": null,
        "bsbr": {"version": 1, "layers": [
            {"arm": "moments", "chunk_size": 4, "clusters": 2, "sink_tokens": 1, "kv_bits": 8},
            {"arm": "dense"}]}}"#;
    let config = Gpt2Config::from_json(config).expect("a configuration");
    let model = Gpt2::init(&config, 1, &Device::default()).expect("a model");
    let owner = CacheOwner::of(&model, "a model", "{}");
    (model, owner)
}

thread_local! {
    static READER: (Gpt2, CacheOwner) = reader();
}

/// A cache of that model.
#[allow(dead_code)] // The fuzz targets are given seeds.
pub fn a_cache() -> Vec<u8> {
    READER.with(|(model, owner)| {
        let ids: Vec<u32> = (0..30).map(|i| i * 5 % 7).collect();
        let mut cache = model.new_cache();
        let batch = TokenBatch::single(&ids).expect("ids");
        model.forward_cached(&batch, &mut cache).expect("a text");
        in_folder(|folder| {
            let path = folder.join("text.cache");
            save_cache(&path, owner, &ids, &cache).expect("a file");
        });
        FOLDER.with(|folder| {
            let path = folder.get().expect("a folder").path().join("text.cache");
            fs::read(path).expect("a file")
        })
    })
}

/// The bytes as they are, and with the checksum that an attacker would give them. A cache that is
/// read is also used.
pub fn cache(bytes: &[u8]) {
    READER.with(|(model, owner)| {
        let sealed = sealed(bytes, |header, tensors| {
            let mut tensors = tensors.to_vec();
            tensors.sort_unstable();
            let mut hash = Sha256::new();
            for (name, bytes) in tensors {
                hash.update(name);
                hash.update([0]);
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            }
            for (key, value) in [
                ("format", "bsbr-cache"),
                ("version", "1"),
                ("arms", &owner.arms),
                ("weights", &owner.weights),
                ("tokenizer", &owner.tokenizer),
            ] {
                header.insert(key.to_owned(), value.to_owned());
            }
            ("checksum", hash)
        });
        for bytes in std::iter::once(bytes).chain(sealed.as_deref()) {
            with_file("text.cache", bytes, |path| {
                if let Ok(mut read) = load_cache(path, owner, model) {
                    let batch = TokenBatch::single(&[1, 2, 3]).expect("ids");
                    let _ = model.forward_cached(&batch, &mut read.cache);
                }
            });
        }
    });
}
