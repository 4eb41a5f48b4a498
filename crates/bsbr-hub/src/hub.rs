//! The Hub, a cache before it, and what comes of asking them.

use std::path::PathBuf;

use crate::config::HubConfig;
use crate::error::HubError;
use crate::names::{Repository, check_path};
use crate::net::Client;
use crate::progress::Progress;
use crate::session::Session;

/// How far a file is known to be the one that the Hub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Fetched now; its size and its checksum are those that the server announced.
    Checksum,
    /// Fetched now; its size is the one announced, and no checksum was.
    Size,
    /// It was in the cache, and was not read again.
    Cached,
}

/// A file that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its path in the repository.
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

/// Brings files of models and datasets to this machine.
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

    /// A repository at the commit that its revision is now, for one file after another.
    ///
    /// A branch or a tag costs one request, about the file `first`, which should be the one that is
    /// wanted first. A commit costs none.
    ///
    /// # Errors
    ///
    /// [`HubError`], which says what is missing and what to do.
    pub fn open<'a>(
        &'a self,
        repository: &'a Repository,
        first: &str,
        progress: &'a mut dyn Progress,
    ) -> Result<Session<'a>, HubError> {
        check(first)?;
        Session::open(self, repository, first, progress)
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
        paths.iter().try_for_each(|path| check(path))?;
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

/// Refuses what is no path of a file in a repository.
pub(crate) fn check(path: &str) -> Result<(), HubError> {
    check_path(path).map_err(|reason| HubError::InvalidPath {
        path: path.to_owned(),
        reason,
    })
}
