//! The Hub, a cache before it, and what comes of asking them.

use std::path::PathBuf;

use crate::config::HubConfig;
use crate::error::HubError;
use crate::model::{self, ModelFiles};
use crate::names::{Repository, check_path};
use crate::net::Client;
use crate::progress::Progress;
use crate::session::Session;
use crate::source::ModelSource;

/// How far a file is known to be the one that the Hub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Fetched now; its size and its checksum are those that the server announced.
    Checksum,
    /// Fetched now; its size is the one announced, and no checksum was.
    Size,
    /// It was in the cache, and was not read again.
    Cached,
    /// It is in the user's own folder.
    Folder,
}

/// A file that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its path in the repository or the folder.
    pub name: String,
    /// Its path on this machine.
    pub path: PathBuf,
    /// How far it was checked.
    pub check: Check,
}

/// Files of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder that they are in.
    pub folder: PathBuf,
    /// The commit that they are from. Name it in records: it always means the same files.
    pub commit: String,
    /// Whether this is the revision's commit for sure: it was pinned, or the Hub was asked.
    pub confirmed: bool,
    /// The files, in the order asked for.
    pub files: Vec<LocalFile>,
}

/// Brings models and files of datasets to this machine.
#[derive(Debug)]
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) client: Client,
}

impl Hub {
    /// A hub with these settings. Nothing is asked or written yet.
    ///
    /// # Errors
    ///
    /// [`HubError::InvalidSetting`] for an endpoint or a token that cannot be used.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        let client = Client::new(&config)?;
        Ok(Self { config, client })
    }

    /// The settings.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// The files of a model: its configuration, its tokenizer and its weights, and no others.
    ///
    /// Of several forms the first that exists is taken: `tokenizer.json`, else `vocab.json` with
    /// `merges.txt`; `model.safetensors`, else its index and the shards that it names, else
    /// `pytorch_model.bin`, else its index and shards. A folder is used as it is, and may lack a
    /// tokenizer.
    ///
    /// # Errors
    ///
    /// [`HubError`], which says what is missing and what to do.
    pub fn model(
        &self,
        source: &ModelSource,
        progress: &mut dyn Progress,
    ) -> Result<ModelFiles, HubError> {
        match source {
            ModelSource::Folder(folder) => model::in_folder(folder),
            ModelSource::Repository(repository) => {
                let mut session = Session::open(self, repository, model::CONFIG, progress)?;
                let files = model::in_session(&mut session)?;
                session.close()?;
                Ok(files)
            }
        }
    }

    /// These files of a repository, such as a dataset's.
    ///
    /// # Errors
    ///
    /// [`HubError`], which says what is missing and what to do.
    pub fn files(
        &self,
        repository: &Repository,
        paths: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Snapshot, HubError> {
        for path in paths {
            check_path(path).map_err(|reason| HubError::InvalidPath {
                path: (*path).to_owned(),
                reason,
            })?;
        }
        let Some(first) = paths.first() else {
            return Err(HubError::InvalidPath {
                path: String::new(),
                reason: "no file is asked for",
            });
        };
        let mut session = Session::open(self, repository, first, progress)?;
        let mut files = Vec::with_capacity(paths.len());
        let mut missing = Vec::new();
        for path in paths {
            match session.find(path)? {
                Some(file) => files.push(file),
                None => missing.push((*path).to_owned()),
            }
        }
        if !missing.is_empty() {
            return Err(session.missing(missing));
        }
        session.close()?;
        Ok(Snapshot {
            folder: session.folder(),
            commit: session.commit().to_owned(),
            confirmed: session.is_confirmed(),
            files,
        })
    }
}
