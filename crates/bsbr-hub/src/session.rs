//! The files of one commit of a repository.

use std::path::PathBuf;

use crate::cache::RepositoryCache;
use crate::download::{Download, Tries};
use crate::error::HubError;
use crate::hub::{Check, Hub, LocalFile};
use crate::names::{Repository, check_path, is_commit};
use crate::net::Metadata;
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
            .field("commit", &self.commit())
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// A repository at a commit of its revision; see [`Hub::open`].
pub struct Session<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    cache: RepositoryCache,
    reach: Reach,
    /// The result of the first request.
    known: Option<(String, Metadata)>,
    progress: &'a mut dyn Progress,
}

impl Hub {
    /// A repository at the current commit of its revision, for one file after another.
    ///
    /// A branch or a tag needs one request, about the file `first`, which should be the first file
    /// needed. A commit needs none.
    ///
    /// # Errors
    ///
    /// [`HubError`], which names what is missing and what to do.
    pub fn open<'a>(
        &'a self,
        repository: &'a Repository,
        first: &str,
        progress: &'a mut dyn Progress,
    ) -> Result<Session<'a>, HubError> {
        check_path(first)?;
        let mut session = Session {
            hub: self,
            repository,
            cache: RepositoryCache::new(&self.config.cache, repository),
            reach: match self.config.offline {
                true => Reach::Cache,
                false => Reach::Hub,
            },
            known: None,
            progress,
        };
        if repository.is_pinned() || self.config.offline {
            return Ok(session);
        }
        match session.metadata(repository, first) {
            Ok(metadata) => {
                let commit = metadata.commit.clone().filter(|commit| is_commit(commit));
                session.cache.commit = commit.ok_or_else(|| {
                    self.bad(repository, "it does not state the commit of the revision")
                })?;
                session.known = Some((first.to_owned(), metadata));
            }
            Err(error) if error.is_unreachable() && !session.commit().is_empty() => {
                let notice = Notice::Unreachable {
                    repository: repository.to_string(),
                    commit: session.commit().to_owned(),
                    reason: error.to_string(),
                };
                session.progress.notice(&notice);
                session.reach = Reach::Unreachable(error);
            }
            Err(error) => return Err(error),
        }
        Ok(session)
    }
}

impl Session<'_> {
    /// The commit. Name it in records: it always means the same files.
    pub fn commit(&self) -> &str {
        &self.cache.commit
    }

    /// The folder with the files.
    pub fn folder(&self) -> PathBuf {
        self.cache.snapshot()
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
        let known = self.cache.listing();
        if known.is_some() || !self.is_remote() {
            return Ok(known);
        }
        let (repository, subject) = (self.repository.at(self.commit()), "the list of files");
        let listing = self.ask(subject, |hub| hub.list(&repository, subject))?;
        if let Some(listing) = &listing {
            // An unwritable cache only costs a request each time.
            let _ = self.cache.remember_listing(listing);
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
        check_path(file)?;
        let found = |path, check| {
            Some(LocalFile {
                name: file.to_owned(),
                path,
                check,
            })
        };
        if let Some(path) = self.cache.file(file) {
            return Ok(found(path, Check::Cached));
        }
        if !self.is_remote() || self.cache.is_absent(file) {
            return Ok(None);
        }
        let repository = self.repository.at(self.commit());
        let metadata = match self.known.take_if(|(known, _)| known == file) {
            Some((_, metadata)) => metadata,
            None => match self.metadata(&repository, file) {
                Err(HubError::FileNotFound { confirmed, .. }) => {
                    if confirmed {
                        self.cache.mark_absent(file)?;
                    }
                    return Ok(None);
                }
                metadata => metadata?,
            },
        };
        if metadata.size.zip(max).is_some_and(|(size, max)| size > max) {
            return Ok(None);
        }
        let check = self.fetch(&repository, file, &metadata)?;
        let path = self.cache.link(file, &metadata.etag)?;
        Ok(found(path, check))
    }

    /// The error for required files that were not found.
    pub fn missing(&mut self, missing: Vec<String>) -> HubError {
        let repository = self.repository.to_string();
        match std::mem::replace(&mut self.reach, Reach::Cache) {
            Reach::Hub => HubError::FileNotFound {
                repository,
                file: missing.join(", "),
                confirmed: true,
            },
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
            Reach::Hub if !self.repository.is_pinned() => self.cache.remember(),
            _ => Ok(()),
        }
    }

    /// The response to a request, which is repeated as long as that may help.
    fn ask<T>(
        &mut self,
        subject: &str,
        request: impl Fn(&Hub) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        let mut tries = Tries::new(&self.hub.config);
        loop {
            match request(self.hub) {
                Err(error) => tries.wait_or_fail(error, subject, self.progress)?,
                response => return response,
            }
        }
    }

    fn metadata(&mut self, repository: &Repository, file: &str) -> Result<Metadata, HubError> {
        let metadata = self.ask(file, |hub| hub.metadata(repository, file))?;
        let revision = repository.revision();
        match &metadata.commit {
            // A mirror that ignores the revision would mix files of several commits.
            Some(commit) if repository.is_pinned() && commit != revision => {
                let reason = format!("it was asked for commit {revision} and sent {commit}");
                Err(self.hub.bad(repository, reason))
            }
            _ => Ok(metadata),
        }
    }

    fn fetch(
        &mut self,
        repository: &Repository,
        file: &str,
        metadata: &Metadata,
    ) -> Result<Check, HubError> {
        let etag = &metadata.etag;
        let _lock = self.cache.lock(etag, file, self.progress)?;
        let blob = self.cache.blob(etag);
        // Another file, commit or process may have stored the same content.
        let here = std::fs::metadata(&blob).map(|blob| blob.len()).ok();
        if here.is_some_and(|here| metadata.size.is_none_or(|size| size == here)) {
            return Ok(Check::Cached);
        }
        let download = Download {
            hub: self.hub,
            repository,
            file,
            etag,
            size: metadata.size,
            part: &self.cache.part(etag),
            progress: self.progress,
        };
        download.run(&blob)
    }
}
