//! The download of one file from the Hub to a local path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::config::HubConfig;
use crate::error::HubError;
use crate::etag::{self, Etag};
use crate::hub::Check;
use crate::net::{Client, Target};
use crate::progress::{Notice, Progress};

/// The longest delay before a retry.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A file to download.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) config: &'a HubConfig,
    pub(crate) target: Target<'a>,
    pub(crate) etag: &'a Etag,
    pub(crate) size: Option<u64>,
    /// The partial download. Its content is assumed to be the start of the file.
    pub(crate) part: &'a Path,
}

impl Download<'_> {
    /// Downloads, checks and moves the file to its path.
    ///
    /// The next call resumes an interrupted download in `part`. Invalid data is deleted.
    pub(crate) fn run(
        mut self,
        place: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Check, HubError> {
        let resumed = self.done()? > 0;
        self.complete(progress)?;
        let check = match self.verify() {
            // The existing part may be from something else: retry once from the start.
            Err(HubError::ChecksumMismatch { .. } | HubError::SizeMismatch { .. }) if resumed => {
                self.complete(progress)?;
                self.verify()?
            }
            outcome => outcome?,
        };
        fs::rename(self.part, place).map_err(HubError::io("write", place))?;
        if let (Check::Size, file) = (check, self.target.file) {
            let etag = self.etag.as_str().to_owned();
            progress.notice(&Notice::Unchecked {
                file: file.to_owned(),
                etag,
            });
        }
        progress.finish(self.target.file);
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
    fn complete(&mut self, progress: &mut dyn Progress) -> Result<(), HubError> {
        let config = self.config;
        let mut most = self.done()?;
        let mut tries = Tries::new(config);
        loop {
            let error = match self.fetch(progress) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // A server that always starts over must not be asked forever.
            let done = self.done()?;
            if done > most {
                most = done;
                tries = Tries::new(config);
            }
            tries.wait_or_fail(error, self.target.file, progress)?;
        }
    }

    /// One request, from the downloaded part to the end of the file.
    fn fetch(&mut self, progress: &mut dyn Progress) -> Result<(), HubError> {
        let part = self.part;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(part)
            .map_err(HubError::io("write", part))?;
        let mut done = self.done()?;
        if self.size.is_some_and(|size| done > size) {
            done = restart(&file, part)?;
        }
        let name = self.target.file;
        // An empty or complete file needs no request.
        if self.size == Some(done) {
            progress.start(name, self.size, done);
            return sync(&file, part);
        }
        let Some(mut content) = self.client.content(&self.target, done)? else {
            // The file is shorter than the downloaded part, so that part is invalid.
            restart(&file, part)?;
            return Err(interrupted(
                name,
                "the file is shorter than the part already downloaded",
            ));
        };
        if content.start != done {
            done = restart(&file, part)?;
        }
        self.size = self.size.or(content.size);
        if self.size.is_none() && self.etag.algorithm().is_none() {
            return Err(HubError::BadResponse {
                url: self.client.page(self.target.repository),
                reason: format!("it states neither size nor checksum of {name}"),
            });
        }
        progress.start(name, self.size, done);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match content.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(interrupted(name, error)),
            };
            done += read as u64;
            if let Some(expected) = self.size.filter(|&size| done > size) {
                restart(&file, part)?;
                let file = name.to_owned();
                return Err(HubError::SizeMismatch {
                    file,
                    expected,
                    found: done,
                });
            }
            let limit = self.config.unsized_limit;
            if self.size.is_none() && done > limit {
                drop(file);
                fs::remove_file(part).map_err(HubError::io("delete", part))?;
                let file = name.to_owned();
                return Err(HubError::UnknownSize { file, limit });
            }
            file.write_all(&buffer[..read])
                .map_err(HubError::io("write", part))?;
            progress.advance(read as u64);
        }
        if self.size.is_some_and(|size| done < size) {
            return Err(interrupted(name, "the server closed it early"));
        }
        sync(&file, part)
    }

    /// Compares the downloaded file with the server's announcement; deletes it if it differs.
    fn verify(&self) -> Result<Check, HubError> {
        let name = self.target.file;
        let found = self.done()?;
        if let Some(expected) = self.size.filter(|&size| size != found) {
            fs::remove_file(self.part).map_err(HubError::io("delete", self.part))?;
            return Err(HubError::SizeMismatch {
                file: name.to_owned(),
                expected,
                found,
            });
        }
        let Some(algorithm) = self.etag.algorithm() else {
            return Ok(Check::Size);
        };
        let found =
            etag::checksum(self.part, algorithm).map_err(HubError::io("read", self.part))?;
        if found != self.etag.as_str() {
            fs::remove_file(self.part).map_err(HubError::io("delete", self.part))?;
            return Err(HubError::ChecksumMismatch {
                file: name.to_owned(),
                algorithm: algorithm.name(),
                expected: self.etag.as_str().to_owned(),
                found,
            });
        }
        Ok(Check::Checksum)
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
        if !error.is_temporary() || self.failed >= self.config.retries {
            return Err(error);
        }
        let mut after = self
            .config
            .backoff
            .saturating_mul(1 << self.failed.min(16))
            .min(MAX_WAIT);
        if let HubError::RateLimited {
            retry_after: Some(asked),
            ..
        } = error
        {
            if asked > MAX_WAIT {
                return Err(error);
            }
            after = after.max(asked);
        }
        self.failed += 1;
        let (file, reason) = (file.to_owned(), error.to_string());
        progress.notice(&Notice::Retrying {
            file,
            reason,
            after,
        });
        thread::sleep(after);
        Ok(())
    }
}

fn interrupted(
    file: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HubError {
    HubError::Interrupted {
        file: file.to_owned(),
        source: source.into(),
    }
}

/// Discards the downloaded part of a file.
fn restart(file: &File, part: &Path) -> Result<u64, HubError> {
    file.set_len(0).map_err(HubError::io("write", part))?;
    Ok(0)
}

/// Flushes the content to the disk before the file gets its name.
fn sync(file: &File, part: &Path) -> Result<(), HubError> {
    file.sync_all().map_err(HubError::io("write", part))
}
