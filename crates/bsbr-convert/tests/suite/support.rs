//! Helpers of the tests.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bsbr_convert::{Checkpoint, LoadError, LoadOptions, LoadedModel, load_model};
use bsbr_gpt2::parameters::visit_tensors;
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::Device;
use serde_json::Value;
use tempfile::TempDir;

/// No file of the tests may take longer, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(5);

/// A folder of `generate.py`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A folder of `generate.py` where it can be changed.
pub fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// The numbers that every form of the fixture holds.
pub struct Expected {
    pub tokens: Vec<u32>,
    pub logits: Vec<f32>,
    pub untied_logits: Vec<f32>,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

pub fn expected() -> Expected {
    let text = fs::read_to_string(fixture("expected.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let floats = |value: &Value| -> Vec<f32> {
        let numbers = value.as_array().unwrap().iter();
        numbers.map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let sizes = |value: &Value| -> Vec<usize> {
        let numbers = value.as_array().unwrap().iter();
        numbers.map(|v| v.as_u64().unwrap() as usize).collect()
    };
    Expected {
        tokens: sizes(&json["tokens"]).iter().map(|&id| id as u32).collect(),
        logits: floats(&json["logits"]),
        untied_logits: floats(&json["untied_logits"]),
        tensors: json["tensors"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, tensor)| {
                let tensor = (sizes(&tensor["shape"]), floats(&tensor["values"]));
                (name.clone(), tensor)
            })
            .collect(),
    }
}

/// Opens a file of these bytes and reads every tensor.
pub fn read_all(path: &Path, bytes: &[u8]) -> Result<usize, LoadError> {
    fs::write(path, bytes).unwrap();
    let checkpoint = Checkpoint::open_file(path)?;
    let mut total = 0;
    for tensor in checkpoint.tensors() {
        total += tensor.bytes()?.len();
    }
    Ok(total)
}

/// As [`read_all`], and fails, saying `what`, where it panics or takes long.
pub fn read_calmly(path: &Path, bytes: &[u8], what: &str) -> Result<usize, LoadError> {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| read_all(path, bytes)));
    assert!(start.elapsed() < PATIENCE, "{what}: {:?}", start.elapsed());
    result.unwrap_or_else(|_| panic!("{what}: panicked"))
}

/// The message of an error, which must be one.
pub fn message<T>(result: Result<T, LoadError>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

/// The model in a folder.
pub fn load(path: impl AsRef<Path>) -> LoadedModel {
    load_model(path, &LoadOptions::on(&Device::default())).unwrap()
}

/// Next-token logits of every position.
pub fn logits(model: &Gpt2, tokens: &[u32]) -> Vec<f32> {
    let batch = TokenBatch::single(tokens).unwrap();
    let states = model.hidden_states(&batch).unwrap();
    let data = model.logits(states).into_data();
    data.convert::<f32>().try_into_vec().unwrap()
}

/// A model's tensors as bytes.
pub fn tensors(model: &Gpt2) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    visit_tensors(model, |name, data| {
        found.push((name.to_owned(), data.as_bytes().to_vec()));
    });
    found
}

/// A model's tensors as numbers, whatever they are held as.
pub fn values(model: &Gpt2) -> Vec<(String, Vec<f32>)> {
    let mut found = Vec::new();
    visit_tensors(model, |name, data| {
        let values = data.convert::<f32>().try_into_vec().unwrap();
        found.push((name.to_owned(), values));
    });
    found
}

/// Fails where numbers differ by more than `tolerance` of the largest.
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{found} for {expected}"
        );
    }
}
