//! The download of one file from the Hub to a local path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::config::HubConfig;
use crate::error::HubError;
use crate::etag::{self, Etag};
use crate::hub::{Check, Hub};
use crate::names::Repository;
use crate::progress::{Notice, Progress};

/// The longest delay before a retry.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A file to download.
pub(crate) struct Download<'a> {
    pub(crate) hub: &'a Hub,
    /// At the commit of the file.
    pub(crate) repository: &'a Repository,
    pub(crate) file: &'a str,
    pub(crate) etag: &'a Etag,
    pub(crate) size: Option<u64>,
    /// The partial download. Its content is assumed to be the start of the file.
    pub(crate) part: &'a Path,
    pub(crate) progress: &'a mut dyn Progress,
}

impl Download<'_> {
    /// Downloads, checks and moves the file to its path.
    ///
    /// The next call resumes an interrupted download in `part`. Invalid data is deleted.
    pub(crate) fn run(mut self, place: &Path) -> Result<Check, HubError> {
        let resumed = self.done()? > 0;
        self.complete()?;
        let check = match self.verify() {
            // The existing part may be from something else: retry once from the start.
            Err(HubError::ChecksumMismatch { .. }) if resumed => {
                self.complete()?;
                self.verify()?
            }
            outcome => outcome?,
        };
        fs::rename(self.part, place).map_err(HubError::io("write", place))?;
        if check == Check::Size {
            self.progress.notice(&Notice::Unchecked {
                file: self.file.to_owned(),
                etag: self.etag.as_str().to_owned(),
            });
        }
        self.progress.finish(self.file);
        Ok(check)
    }

    /// The number of downloaded bytes.
    fn done(&self) -> Result<u64, HubError> {
        match fs::metadata(self.part) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(HubError::io("read", self.part)(error)),
        }
    }

    /// Downloads until the file is complete, with retries as long as they may help.
    fn complete(&mut self) -> Result<(), HubError> {
        let config = &self.hub.config;
        let mut most = self.done()?;
        let mut tries = Tries::new(config);
        while let Err(error) = self.fetch() {
            // A server that always starts over must not be asked forever.
            let done = self.done()?;
            if done > most {
                most = done;
                tries = Tries::new(config);
            }
            tries.wait_or_fail(error, self.file, self.progress)?;
        }
        Ok(())
    }

    /// One request, from the downloaded part to the end of the file.
    fn fetch(&mut self) -> Result<(), HubError> {
        let (hub, name) = (self.hub, self.file);
        let unwritable = HubError::io("write", self.part);
        let restart = |file: &File| file.set_len(0).map(|()| 0).map_err(&unwritable);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.part)
            .map_err(&unwritable)?;
        let mut done = self.done()?;
        if self.size.is_some_and(|size| done > size) {
            done = restart(&file)?;
        }
        // An empty or complete file needs no request.
        if self.size == Some(done) {
            self.progress.start(name, self.size, done);
            return file.sync_all().map_err(&unwritable);
        }
        let Some(mut content) = hub.content(self.repository, name, done)? else {
            // The downloaded part is invalid.
            restart(&file)?;
            let reason = "the file is shorter than the part already downloaded";
            return Err(HubError::interrupted(name, reason));
        };
        if content.start != done {
            done = restart(&file)?;
        }
        self.size = self.size.or(content.size);
        if self.size.is_none() && self.etag.algorithm().is_none() {
            let reason = format!("it states neither size nor checksum of {name}");
            return Err(hub.bad(self.repository, reason));
        }
        self.progress.start(name, self.size, done);
        let limit = self.size.unwrap_or(hub.config.unsized_limit);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match content.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(HubError::interrupted(name, error)),
            };
            done += read as u64;
            if done > limit {
                drop(file);
                self.delete()?;
                let file = name.to_owned();
                return Err(match self.size {
                    None => HubError::UnknownSize { file, limit },
                    Some(expected) => HubError::SizeMismatch {
                        file,
                        expected,
                        found: done,
                    },
                });
            }
            file.write_all(&buffer[..read]).map_err(&unwritable)?;
            self.progress.advance(read as u64);
        }
        if self.size.is_some_and(|size| done < size) {
            let reason = "the server closed it early";
            return Err(HubError::interrupted(name, reason));
        }
        // On the disk before the file gets its name.
        file.sync_all().map_err(&unwritable)
    }

    /// Compares the checksum with the server's announcement; deletes the file if it differs.
    fn verify(&self) -> Result<Check, HubError> {
        let Some(algorithm) = self.etag.algorithm() else {
            return Ok(Check::Size);
        };
        let found =
            etag::checksum(self.part, algorithm).map_err(HubError::io("read", self.part))?;
        if found == self.etag.as_str() {
            return Ok(Check::Checksum);
        }
        self.delete()?;
        Err(HubError::ChecksumMismatch {
            file: self.file.to_owned(),
            algorithm: algorithm.name(),
            expected: self.etag.as_str().to_owned(),
            found,
        })
    }

    fn delete(&self) -> Result<(), HubError> {
        fs::remove_file(self.part).map_err(HubError::io("delete", self.part))
    }
}

/// The number of consecutive failures.
pub(crate) struct Tries<'a> {
    config: &'a HubConfig,
    failed: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(config: &'a HubConfig) -> Self {
        Self { config, failed: 0 }
    }

    /// Waits before a retry; returns the error if a retry is useless.
    pub(crate) fn wait_or_fail(
        &mut self,
        error: HubError,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<(), HubError> {
        let asked = match &error {
            HubError::RateLimited { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if !error.is_temporary() || self.failed >= self.config.retries || asked > MAX_WAIT {
            return Err(error);
        }
        let doubled = self.config.backoff.saturating_mul(1 << self.failed.min(16));
        let after = doubled.min(MAX_WAIT).max(asked);
        self.failed += 1;
        progress.notice(&Notice::Retrying {
            file: file.to_owned(),
            reason: error.to_string(),
            after,
        });
        thread::sleep(after);
        Ok(())
    }
}
