//! The Hub with its cache, and the results of requests.

use std::path::PathBuf;

use ureq::Agent;
use url::Url;

use crate::config::HubConfig;
use crate::error::HubError;
use crate::names::{Repository, check_path};
use crate::net;
use crate::progress::Progress;

/// How a file was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Downloaded; its size and checksum match the server's announcement.
    Checksum,
    /// Downloaded; its size matches the announcement, and no checksum was announced.
    Size,
    /// Taken from the cache without reading it.
    Cached,
}

/// A local copy of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its path in the repository.
    pub name: String,
    /// Its local path.
    pub path: PathBuf,
    /// How it was verified.
    pub check: Check,
}

/// Files of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder that contains them.
    pub folder: PathBuf,
    /// Their commit. Name it in records: it always means the same files.
    pub commit: String,
    /// Whether this is certainly the revision's commit: it was pinned, or the Hub was asked.
    pub confirmed: bool,
    /// The files, in the requested order.
    pub files: Vec<LocalFile>,
}

/// Downloads files of models and datasets.
#[derive(Debug)]
pub struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) endpoint: Url,
    pub(crate) agent: Agent,
}

impl Hub {
    /// A hub with these settings. Sends no requests and writes nothing.
    ///
    /// # Errors
    ///
    /// [`HubError::InvalidSetting`] for an invalid endpoint or token.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        let (endpoint, agent) = net::connect(&config)?;
        Ok(Self {
            config,
            endpoint,
            agent,
        })
    }

    /// The given files of a repository, such as a dataset's.
    ///
    /// # Errors
    ///
    /// [`HubError`], which names what is missing and what to do.
    pub fn files(
        &self,
        repository: &Repository,
        paths: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Snapshot, HubError> {
        paths.iter().try_for_each(|path| check_path(path))?;
        let Some(first) = paths.first() else {
            return Err(HubError::InvalidPath {
                path: String::new(),
                reason: "no file was requested",
            });
        };
        let mut session = self.open(repository, first, progress)?;
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
