//! What a model folder holds.

use std::path::{Path, PathBuf};

use bsbr_gpt2::Gpt2Config;

use crate::error::LoadError;
use crate::mapped;

/// File names of weights, in the order in which they are looked for.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
/// Files that belong to the tokenizer, and how text is generated.
const COMPANIONS: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];
/// The longest `config.json` accepted, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// A folder as `save_pretrained` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFolder {
    root: PathBuf,
    weights: WeightFiles,
}

/// Where a folder's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// One safetensors file.
    Safetensors(PathBuf),
    /// The index of several safetensors files.
    ShardedSafetensors(PathBuf),
    /// One pickle.
    Pickle(PathBuf),
    /// The index of several pickles.
    ShardedPickle(PathBuf),
}

impl ModelFolder {
    /// Looks for weights in `root`: safetensors before pickles, one file before several.
    ///
    /// # Errors
    ///
    /// [`LoadError`] where the folder cannot be read or has no weights.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let root = root.into();
        // Tells a folder that is not there from one without weights.
        std::fs::read_dir(&root).map_err(LoadError::io(&root))?;
        let found = WEIGHTS
            .iter()
            .map(|name| root.join(name))
            .position(|path| path.symlink_metadata().is_ok());
        let weights = match found {
            Some(0) => WeightFiles::Safetensors(root.join(WEIGHTS[0])),
            Some(1) => WeightFiles::ShardedSafetensors(root.join(WEIGHTS[1])),
            Some(2) => WeightFiles::Pickle(root.join(WEIGHTS[2])),
            Some(_) => WeightFiles::ShardedPickle(root.join(WEIGHTS[3])),
            None => {
                return Err(LoadError::NoWeights {
                    folder: root,
                    expected: "model.safetensors, model.safetensors.index.json, \
                               pytorch_model.bin or pytorch_model.bin.index.json",
                });
            }
        };
        Ok(Self { root, weights })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the weights are.
    pub fn weights(&self) -> &WeightFiles {
        &self.weights
    }

    /// Reads and checks `config.json`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] where it is missing, or names the key that is wrong.
    pub fn config(&self) -> Result<Gpt2Config, LoadError> {
        let path = self.root.join("config.json");
        let text = mapped::read_text(&path, MAX_CONFIG)?;
        Gpt2Config::from_json(&text).map_err(|source| LoadError::Config { path, source })
    }

    /// `tokenizer.json`, where there is one.
    pub fn tokenizer(&self) -> Option<PathBuf> {
        let path = self.root.join("tokenizer.json");
        path.is_file().then_some(path)
    }

    /// The files that go with a model when it is saved elsewhere: those of its tokenizer and
    /// `generation_config.json`, as far as there are any.
    pub fn companions(&self) -> Vec<PathBuf> {
        COMPANIONS
            .iter()
            .map(|name| self.root.join(name))
            .filter(|path| path.is_file())
            .collect()
    }
}
