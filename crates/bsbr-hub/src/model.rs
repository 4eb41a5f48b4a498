//! Which files make a model.

use std::path::{Path, PathBuf};

use crate::error::HubError;
use crate::hub::{Check, LocalFile};
use crate::index;
use crate::session::Session;

/// The file that every model has, and the first that is asked for.
pub(crate) const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
/// Weights in the order in which they are looked for, and the index that they may have instead.
const SAFETENSORS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];
const PICKLE: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// The folder that they are in, for what reads whole folders.
    pub folder: PathBuf,
    /// The commit that they are from, unless they are in the user's own folder. Name it in
    /// records: it always means the same files.
    pub commit: Option<String>,
    /// Whether this is the revision's commit for sure: it was pinned, or the Hub was asked.
    pub confirmed: bool,
    /// `config.json`.
    pub config: PathBuf,
    /// The tokenizer; only the user's own folder may lack it.
    pub tokenizer: Option<TokenizerFiles>,
    /// The weights.
    pub weights: WeightFiles,
    /// All of them, in the order in which they were found, and how far each was checked.
    pub files: Vec<LocalFile>,
}

/// The files of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerFiles {
    /// `tokenizer.json`.
    Whole(PathBuf),
    /// `vocab.json` and `merges.txt`.
    Parts {
        /// `vocab.json`.
        vocabulary: PathBuf,
        /// `merges.txt`.
        merges: PathBuf,
    },
}

/// The files with weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// `model.safetensors`.
    Safetensors(PathBuf),
    /// Several safetensors files.
    ShardedSafetensors {
        /// `model.safetensors.index.json`.
        index: PathBuf,
        /// The files that it names.
        shards: Vec<PathBuf>,
    },
    /// `pytorch_model.bin`.
    Pickle(PathBuf),
    /// Several pickles.
    ShardedPickle {
        /// `pytorch_model.bin.index.json`.
        index: PathBuf,
        /// The files that it names.
        shards: Vec<PathBuf>,
    },
}

impl WeightFiles {
    /// The files that hold tensors: the shards where there is an index.
    pub fn tensors(&self) -> &[PathBuf] {
        match self {
            Self::Safetensors(path) | Self::Pickle(path) => std::slice::from_ref(path),
            Self::ShardedSafetensors { shards, .. } | Self::ShardedPickle { shards, .. } => shards,
        }
    }
}

/// A place where files are looked for by name.
trait Place {
    /// A file, if the place has it.
    fn find(&mut self, name: &str) -> Result<Option<LocalFile>, HubError>;
    /// Whether to look for more costs something, once it is clear that a file is missing.
    fn is_remote(&self) -> bool;
    /// Why these were not found.
    fn missing(&mut self, names: Vec<String>) -> HubError;
}

impl Place for Session<'_> {
    fn find(&mut self, name: &str) -> Result<Option<LocalFile>, HubError> {
        Session::find(self, name)
    }

    fn is_remote(&self) -> bool {
        Session::is_remote(self)
    }

    fn missing(&mut self, names: Vec<String>) -> HubError {
        Session::missing(self, names)
    }
}

impl Place for &Path {
    fn find(&mut self, name: &str) -> Result<Option<LocalFile>, HubError> {
        let path = self.join(name);
        let file = LocalFile {
            name: name.to_owned(),
            path,
            check: Check::Folder,
        };
        Ok(file.path.is_file().then_some(file))
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn missing(&mut self, names: Vec<String>) -> HubError {
        HubError::MissingFile {
            folder: self.to_path_buf(),
            missing: names.join(", "),
        }
    }
}

/// The model in a folder.
pub(crate) fn in_folder(mut folder: &Path) -> Result<ModelFiles, HubError> {
    if !folder.is_dir() {
        return Err(HubError::NoSuchFolder {
            path: folder.to_owned(),
        });
    }
    let root = folder.to_owned();
    Search::new(&mut folder).model(root, None, true)
}

/// The model of a repository.
pub(crate) fn in_session(session: &mut Session<'_>) -> Result<ModelFiles, HubError> {
    let (folder, commit) = (session.folder(), session.commit().to_owned());
    let confirmed = session.is_confirmed();
    Search::new(session).model(folder, Some(commit), confirmed)
}

/// What has been found so far, and what has not.
struct Search<'a, P: Place> {
    place: &'a mut P,
    files: Vec<LocalFile>,
    missing: Vec<String>,
}

impl<'a, P: Place> Search<'a, P> {
    fn new(place: &'a mut P) -> Self {
        Self {
            place,
            files: Vec::new(),
            missing: Vec::new(),
        }
    }

    fn model(
        mut self,
        folder: PathBuf,
        commit: Option<String>,
        confirmed: bool,
    ) -> Result<ModelFiles, HubError> {
        let config = self.find(CONFIG)?;
        if config.is_none() {
            self.lacks(CONFIG.to_owned())?;
        }
        // Before the weights: a model that cannot be used should not cost gigabytes.
        let tokenizer = self.tokenizer()?;
        if tokenizer.is_none() && commit.is_some() {
            self.lacks(format!("{TOKENIZER} (or {VOCABULARY} and {MERGES})"))?;
        }
        let weights = self.weights()?;
        match (config, weights) {
            (Some(config), Some(weights)) if self.missing.is_empty() => {
                let files = self.files;
                Ok(ModelFiles {
                    folder,
                    commit,
                    confirmed,
                    config,
                    tokenizer,
                    weights,
                    files,
                })
            }
            _ => Err(self.place.missing(self.missing)),
        }
    }

    fn tokenizer(&mut self) -> Result<Option<TokenizerFiles>, HubError> {
        if let Some(path) = self.find(TOKENIZER)? {
            return Ok(Some(TokenizerFiles::Whole(path)));
        }
        let Some(vocabulary) = self.find(VOCABULARY)? else {
            return Ok(None);
        };
        let merges = self.find(MERGES)?;
        Ok(merges.map(|merges| TokenizerFiles::Parts { vocabulary, merges }))
    }

    fn weights(&mut self) -> Result<Option<WeightFiles>, HubError> {
        if let Some(path) = self.find(SAFETENSORS[0])? {
            return Ok(Some(WeightFiles::Safetensors(path)));
        }
        if let Some(index) = self.find(SAFETENSORS[1])? {
            let shards = self.shards(&index)?;
            return Ok(Some(WeightFiles::ShardedSafetensors { index, shards }));
        }
        if let Some(path) = self.find(PICKLE[0])? {
            return Ok(Some(WeightFiles::Pickle(path)));
        }
        if let Some(index) = self.find(PICKLE[1])? {
            let shards = self.shards(&index)?;
            return Ok(Some(WeightFiles::ShardedPickle { index, shards }));
        }
        let any = [SAFETENSORS, PICKLE].concat();
        self.lacks(format!("{} (or {})", any[0], any[1..].join(" or ")))?;
        Ok(None)
    }

    fn shards(&mut self, index: &Path) -> Result<Vec<PathBuf>, HubError> {
        let mut shards = Vec::new();
        for name in index::shards(index)? {
            match self.find(&name)? {
                Some(path) => shards.push(path),
                None => self.lacks(name)?,
            }
        }
        Ok(shards)
    }

    fn find(&mut self, name: &str) -> Result<Option<PathBuf>, HubError> {
        let file = self.place.find(name)?;
        let path = file.as_ref().map(|file| file.path.clone());
        self.files.extend(file);
        Ok(path)
    }

    /// Notes that a file is missing, and gives up where going on would fetch others in vain.
    fn lacks(&mut self, name: String) -> Result<(), HubError> {
        self.missing.push(name);
        if self.place.is_remote() {
            return Err(self.place.missing(std::mem::take(&mut self.missing)));
        }
        Ok(())
    }
}
