//! The golden checkpoints, and comparisons with them.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use bsbr_attention::ArmConfig;
use bsbr_gpt2::parameters::replace_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};

/// Logits and hidden states must agree with `transformers` to this.
pub const TOLERANCE: f32 = 1e-4;

/// Every golden folder, and the folder whose weights it uses.
pub const GOLDENS: [(&str, &str); 12] = [
    ("base", "base"),
    ("wide", "wide"),
    ("flags/gelu", "base"),
    ("flags/relu", "base"),
    ("flags/silu", "base"),
    ("flags/tanh", "base"),
    ("flags/epsilon", "base"),
    ("flags/unscaled", "base"),
    ("flags/inverse_layer", "base"),
    ("flags/unscaled_inverse_layer", "base"),
    ("flags/upcast", "base"),
    ("flags/n_inner", "wide"),
];

pub fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

pub fn read_text(path: &str) -> String {
    std::fs::read_to_string(fixture(path)).expect(path)
}

pub fn config(folder: &str) -> Gpt2Config {
    Gpt2Config::from_json(&read_text(&format!("{folder}/config.json"))).expect(folder)
}

/// The model of a golden folder.
pub fn load(folder: &str) -> Gpt2 {
    load_on(folder, &Device::default())
}

pub fn load_on(folder: &str, device: &Device) -> Gpt2 {
    load_with(&config(folder), folder, device)
}

/// The weights of a golden folder in a model of another configuration.
pub fn load_with(config: &Gpt2Config, folder: &str, device: &Device) -> Gpt2 {
    let weights = GOLDENS.iter().find(|(name, _)| *name == folder);
    let weights = weights.expect("a golden folder").1;
    let stored = Tensors::read(&format!("{weights}/model.safetensors"));
    let model = Gpt2::zeros(config, device).expect(folder);
    replace_tensors(model, |name, _| {
        let data = stored
            .get(&format!("transformer.{name}"))
            .or_else(|| stored.get(name));
        // What an arm adds is not stored: it stays as it was made.
        assert!(
            data.is_some() || name.contains(".bsbr."),
            "no tensor for {name}"
        );
        data
    })
}

/// An arm, as it is typed.
pub fn arm(text: &str) -> ArmConfig {
    text.parse().expect(text)
}

/// Some token ids.
pub fn ids(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 31 + 7) % 97).collect()
}

pub fn single(ids: &[u32]) -> TokenBatch {
    TokenBatch::single(ids).expect("ids")
}

pub fn logits(model: &Gpt2, batch: &TokenBatch) -> Vec<f32> {
    floats(model.logits(model.hidden_states(batch).expect("a batch")))
}

/// Logits of tokens that are read in pieces.
pub fn streamed(model: &Gpt2, ids: &[u32], piece: usize) -> Vec<f32> {
    let mut cache = model.new_cache();
    let logits = ids.chunks(piece).map(|ids| {
        let hidden = model.forward_cached(&single(ids), &mut cache);
        model.logits(hidden.expect("a piece"))
    });
    floats(Tensor::cat(logits.collect(), 1))
}

/// The content of a safetensors file.
pub struct Tensors(Vec<(String, TensorData)>);

impl Tensors {
    pub fn read(path: &str) -> Self {
        let bytes = std::fs::read(fixture(path)).expect(path);
        let file = SafeTensors::deserialize(&bytes).expect(path);
        Self(
            file.iter()
                .map(|(name, view)| {
                    let words = view
                        .data()
                        .chunks_exact(4)
                        .map(|b| [b[0], b[1], b[2], b[3]]);
                    let shape = view.shape().to_vec();
                    let data = match view.dtype() {
                        Dtype::F32 => {
                            TensorData::new(words.map(f32::from_le_bytes).collect(), shape)
                        }
                        Dtype::I32 => {
                            TensorData::new(words.map(i32::from_le_bytes).collect(), shape)
                        }
                        other => panic!("{path}: {name} is {other:?}"),
                    };
                    (name.to_owned(), data)
                })
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<TensorData> {
        let found = self.0.iter().find(|(stored, _)| stored == name);
        found.map(|(_, data)| data.clone())
    }

    /// All names, without their prefix.
    pub fn names(&self) -> Vec<String> {
        let bare = |name: &String| name.trim_start_matches("transformer.").to_owned();
        self.0.iter().map(|(name, _)| bare(name)).collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).expect(name).try_into_vec().expect(name)
    }

    /// Rows of ids.
    pub fn ids(&self, name: &str) -> Vec<Vec<u32>> {
        let data = self.get(name).expect(name);
        let width = *data.shape().to_vec().last().expect(name);
        let ids: Vec<i32> = data.try_into_vec().expect(name);
        ids.chunks(width)
            .map(|row| row.iter().map(|&id| id as u32).collect())
            .collect()
    }

    /// The padded rows without their padding.
    pub fn unpadded(&self) -> Vec<Vec<u32>> {
        let left = self.ids("padded.left").concat().into_iter();
        let rows = self.ids("padded.ids").into_iter().zip(left);
        rows.map(|(row, left)| row[left as usize..].to_vec())
            .collect()
    }

    pub fn batch(&self) -> TokenBatch {
        TokenBatch::rows(&self.ids("ids")).expect("ids")
    }
}

pub fn golden(folder: &str) -> Tensors {
    Tensors::read(&format!("{folder}/golden.safetensors"))
}

pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data_dtype(burn::tensor::DType::F32)
        .try_into_vec()
        .expect("floats")
}

/// The largest distance between numbers of the same place.
pub fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        // NaN is no distance, and no maximum either.
        .fold(0.0, |max, x| if x <= max { max } else { x })
}

pub fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    let distance = distance(found, expected);
    assert!(distance < TOLERANCE, "{what} is off by {distance}");
}
