//! The contents of a model folder, local or collected from a repository.

mod gather;
pub(crate) mod names;

pub use gather::{FileSource, GatherError, gather};

use std::fs;
use std::path::{Path, PathBuf};

use bsbr_gpt2::{GenerationDefaults, Gpt2Config};

use crate::error::LoadError;
use crate::{index, mapped};
use names::{CONFIG, GENERATION, MAX_UNKNOWN, MOST_UNKNOWN, USUAL, WEIGHTS};

/// The size limit of `config.json`, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// The maximum depth of subfolders in the search for companions, and the maximum number of entries.
const MAX_DEPTH: usize = 4;
const MAX_ENTRIES: usize = 10_000;

/// A folder as written by `save_pretrained`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFolder {
    root: PathBuf,
    weights: WeightFiles,
}

/// The weights of a folder.
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
    /// One safetensors file with linear layers in 8 bits, as written by `convert --weights int8`.
    Int8(PathBuf),
}

/// A file to copy when a model is saved elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// Its current path.
    pub path: PathBuf,
    /// Its path in the model folder, with `/` as separator.
    pub name: String,
}

impl From<PathBuf> for Companion {
    /// A file that keeps its name.
    fn from(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            path,
        }
    }
}

impl ModelFolder {
    /// Finds the weights in `root`: safetensors before pickles, one file before several, and linear
    /// layers in 8 bits last.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if the folder cannot be read or has no weights.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let root = root.into();
        // Distinguishes a missing folder from one without weights.
        std::fs::read_dir(&root).map_err(LoadError::io(&root))?;
        let found = WEIGHTS
            .iter()
            .map(|name| root.join(name))
            .position(|path| path.symlink_metadata().is_ok());
        let weights = match found {
            Some(0) => WeightFiles::Safetensors(root.join(WEIGHTS[0])),
            Some(1) => WeightFiles::ShardedSafetensors(root.join(WEIGHTS[1])),
            Some(2) => WeightFiles::Pickle(root.join(WEIGHTS[2])),
            Some(3) => WeightFiles::ShardedPickle(root.join(WEIGHTS[3])),
            Some(_) => WeightFiles::Int8(root.join(WEIGHTS[4])),
            None => {
                return Err(LoadError::NoWeights {
                    folder: root,
                    expected: "model.safetensors, model.safetensors.index.json, \
                               pytorch_model.bin, pytorch_model.bin.index.json or \
                               model-int8.safetensors",
                });
            }
        };
        Ok(Self { root, weights })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The weights.
    pub fn weights(&self) -> &WeightFiles {
        &self.weights
    }

    /// Reads and checks `config.json`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if the file is missing, or names the invalid key.
    pub fn config(&self) -> Result<Gpt2Config, LoadError> {
        let path = self.root.join(CONFIG);
        let text = mapped::read_text(&path, MAX_CONFIG)?;
        Gpt2Config::from_json(&text).map_err(|source| LoadError::Config { path, source })
    }

    /// The generation settings of the model's authors: `generation_config.json`, or if there is
    /// none, those in `config`, the folder's `config.json`.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a file cannot be read, or names the invalid key.
    pub fn generation(&self, config: &Gpt2Config) -> Result<GenerationDefaults, LoadError> {
        let path = self.root.join(GENERATION);
        let (path, defaults) = if path.is_file() {
            let text = mapped::read_text(&path, MAX_CONFIG)?;
            (path, GenerationDefaults::from_json(&text))
        } else {
            let path = self.root.join(CONFIG);
            (path, GenerationDefaults::from_config(config))
        };
        defaults.map_err(|source| LoadError::Config { path, source })
    }

    /// The files to copy to a model made from this one: those of its tokenizer,
    /// `generation_config.json`, and all others except configuration, card, weights in any format,
    /// hidden files and subfolders with weights.
    ///
    /// Of files that `transformers` does not read by name, at most 200 are included, none larger
    /// than 16 MiB, and no links out of the folder.
    pub fn companions(&self) -> Vec<Companion> {
        let mut found = Vec::new();
        walk(&self.root, "", MAX_DEPTH, &mut found);
        found.sort();
        let mut unknown = 0;
        let mut goes_along = |file: &Companion| {
            if USUAL.contains(&file.name.as_str()) {
                return true;
            }
            let small = fs::metadata(&file.path).is_ok_and(|info| info.len() <= MAX_UNKNOWN);
            let goes = unknown < MOST_UNKNOWN && small && self.holds(&file.path);
            unknown += usize::from(goes);
            goes
        };
        names::companions(&found)
            .into_iter()
            .map(|name| Companion {
                path: self.root.join(name),
                name: name.to_owned(),
            })
            .filter(|file| goes_along(file))
            .collect()
    }

    /// Whether a file is in the folder, or in the Hub cache that contains the folder.
    fn holds(&self, path: &Path) -> bool {
        match (self.root.canonicalize(), path.canonicalize()) {
            (Ok(folder), Ok(file)) => {
                file.starts_with(&folder) || index::in_hub_cache(&folder, &file)
            }
            _ => false,
        }
    }
}

/// The paths of a folder's files, below `prefix`. Unreadable entries are skipped.
fn walk(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.take(MAX_ENTRIES) {
        let name = entry.file_name();
        let (Some(name), Ok(kind)) = (name.to_str(), entry.file_type()) else {
            continue;
        };
        if found.len() >= MAX_ENTRIES {
            return;
        }
        if kind.is_dir() && depth > 0 {
            walk(&entry.path(), &format!("{prefix}{name}/"), depth - 1, found);
        } else if entry.path().is_file() {
            found.push(format!("{prefix}{name}"));
        }
    }
}
