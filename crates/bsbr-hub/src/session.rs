//! The files of one commit of a repository.

use std::path::PathBuf;

use crate::cache::RepositoryCache;
use crate::download::{Download, Tries};
use crate::error::HubError;
use crate::hub::{Check, Hub, LocalFile, check};
use crate::names::{Repository, is_commit};
use crate::net::{Metadata, Target};
use crate::progress::{Notice, Progress};

/// The sources of a session.
#[derive(Debug)]
enum Reach {
    /// The cache and the Hub.
    Hub,
    /// Only the cache, because of the settings.
    Cache,
    /// Only the cache, because of this error of the Hub.
    Unreachable(HubError),
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("repository", self.repository)
            .field("commit", &self.commit)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// A repository at a commit of its revision; see [`Hub::open`].
pub struct Session<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    cache: RepositoryCache,
    commit: String,
    reach: Reach,
    /// The result of the first request.
    known: Option<(String, Metadata)>,
    progress: &'a mut dyn Progress,
}

impl<'a> Session<'a> {
    /// Resolves the revision to a commit. `first` is the first file needed: a branch needs one
    /// request about it, a commit none.
    pub(crate) fn open(
        hub: &'a Hub,
        repository: &'a Repository,
        first: &str,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, HubError> {
        let cache = RepositoryCache::new(&hub.config.cache, repository);
        let cached = cache.commit();
        let mut session = Self {
            hub,
            repository,
            cache,
            commit: cached.clone().unwrap_or_default(),
            reach: if hub.config.offline {
                Reach::Cache
            } else {
                Reach::Hub
            },
            known: None,
            progress,
        };
        if repository.is_pinned() || hub.config.offline {
            return Ok(session);
        }
        match session.ask(repository.revision(), first) {
            Ok(metadata) => {
                let commit = metadata
                    .commit
                    .as_deref()
                    .filter(|commit| is_commit(commit));
                session.commit = commit
                    .ok_or_else(|| HubError::BadResponse {
                        url: hub.client.page(repository),
                        reason: "it does not state the commit of the revision".to_owned(),
                    })?
                    .to_owned();
                session.known = Some((first.to_owned(), metadata));
            }
            Err(error) => match cached {
                Some(commit) if error.is_unreachable() => {
                    session.progress.notice(&Notice::Unreachable {
                        repository: repository.to_string(),
                        commit,
                        reason: error.to_string(),
                    });
                    session.reach = Reach::Unreachable(error);
                }
                _ => return Err(error),
            },
        }
        Ok(session)
    }

    /// The commit. Name it in records: it always means the same files.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The folder with the files.
    pub fn folder(&self) -> PathBuf {
        self.cache.snapshot(&self.commit)
    }

    /// Whether this is certainly the revision's commit: it was pinned, or the Hub was asked.
    pub fn is_confirmed(&self) -> bool {
        self.repository.is_pinned() || self.is_remote()
    }

    /// Whether missing files are downloaded.
    fn is_remote(&self) -> bool {
        matches!(self.reach, Reach::Hub)
    }

    /// The paths of all files of the commit. `None` if the Hub cannot be asked, or is a mirror
    /// that does not list them.
    ///
    /// # Errors
    ///
    /// [`HubError`] if the Hub fails temporarily.
    pub fn list(&mut self) -> Result<Option<Vec<String>>, HubError> {
        if let Some(listing) = self.cache.listing(&self.commit) {
            return Ok(Some(listing));
        }
        if !self.is_remote() {
            return Ok(None);
        }
        let target = Target {
            repository: self.repository,
            revision: &self.commit,
            file: "the list of files",
        };
        let mut tries = Tries::new(&self.hub.config);
        let listing = loop {
            match self.hub.client.list(&target) {
                Ok(listing) => break listing,
                Err(error) => tries.wait_or_fail(error, target.file, &mut *self.progress)?,
            }
        };
        if let Some(listing) = &listing {
            // An unwritable cache only costs a request each time.
            let _ = self.cache.remember_listing(&self.commit, listing);
        }
        Ok(listing)
    }

    /// A file, downloaded if needed. `None` if it does not exist or is unavailable.
    ///
    /// # Errors
    ///
    /// [`HubError`], which says why the file is unavailable and what to do.
    pub fn find(&mut self, file: &str) -> Result<Option<LocalFile>, HubError> {
        self.find_within(file, None)
    }

    /// Same as [`find`](Self::find); also `None` if the file has more than `max` bytes.
    ///
    /// # Errors
    ///
    /// Same as [`find`](Self::find).
    pub fn find_within(
        &mut self,
        file: &str,
        max: Option<u64>,
    ) -> Result<Option<LocalFile>, HubError> {
        check(file)?;
        let found = |path, check| {
            Some(LocalFile {
                name: file.to_owned(),
                path,
                check,
            })
        };
        if let Some(path) = self.cache.file(&self.commit, file) {
            return Ok(found(path, Check::Cached));
        }
        if !self.is_remote() || self.cache.is_absent(&self.commit, file) {
            return Ok(None);
        }
        let metadata = match self.known.take_if(|(known, _)| known == file) {
            Some((_, metadata)) => metadata,
            None => match self.ask(&self.commit.clone(), file) {
                Ok(metadata) => metadata,
                Err(HubError::FileNotFound { confirmed, .. }) => {
                    if confirmed {
                        self.cache.mark_absent(&self.commit, file)?;
                    }
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        if let (Some(max), Some(size)) = (max, metadata.size)
            && size > max
        {
            return Ok(None);
        }
        let check = self.fetch(file, &metadata)?;
        let path = self.cache.link(&self.commit, file, &metadata.etag)?;
        Ok(found(path, check))
    }

    /// The error for required files that were not found.
    pub fn missing(&mut self, missing: Vec<String>) -> HubError {
        let repository = self.repository.to_string();
        match std::mem::replace(&mut self.reach, Reach::Cache) {
            Reach::Hub => {
                let file = missing.join(", ");
                HubError::FileNotFound {
                    repository,
                    file,
                    confirmed: true,
                }
            }
            Reach::Cache => HubError::Offline {
                repository,
                missing,
                cache: self.hub.config.cache.clone(),
            },
            Reach::Unreachable(error) => error,
        }
    }

    /// Records that all files are present, so that the next offline run may use this commit.
    ///
    /// # Errors
    ///
    /// [`HubError::Io`] if the cache cannot be written.
    pub fn close(&self) -> Result<(), HubError> {
        match self.reach {
            Reach::Hub if !self.repository.is_pinned() => self.cache.remember(&self.commit),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, revision: &str, file: &str) -> Result<Metadata, HubError> {
        let target = Target {
            repository: self.repository,
            revision,
            file,
        };
        let mut tries = Tries::new(&self.hub.config);
        let metadata = loop {
            match self.hub.client.metadata(&target) {
                Ok(metadata) => break metadata,
                Err(error) => tries.wait_or_fail(error, file, &mut *self.progress)?,
            }
        };
        // A mirror that ignores the revision would mix files of several commits.
        let other = metadata
            .commit
            .as_deref()
            .filter(|commit| *commit != revision);
        if let (true, Some(commit)) = (is_commit(revision), other) {
            return Err(HubError::BadResponse {
                url: self.hub.client.page(self.repository),
                reason: format!("it was asked for commit {revision} and sent {commit}"),
            });
        }
        Ok(metadata)
    }

    fn fetch(&mut self, file: &str, metadata: &Metadata) -> Result<Check, HubError> {
        let etag = &metadata.etag;
        let _lock = self.cache.lock(etag, file, &mut *self.progress)?;
        let blob = self.cache.blob(etag);
        // Another file, commit or process may have stored the same content.
        let here = std::fs::metadata(&blob).map(|blob| blob.len()).ok();
        if here.is_some_and(|here| metadata.size.is_none_or(|size| size == here)) {
            return Ok(Check::Cached);
        }
        let download = Download {
            client: &self.hub.client,
            config: &self.hub.config,
            target: Target {
                repository: self.repository,
                revision: &self.commit,
                file,
            },
            etag,
            size: metadata.size,
            part: &self.cache.part(etag),
        };
        download.run(&blob, &mut *self.progress)
    }
}
