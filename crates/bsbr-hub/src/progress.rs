//! Progress reports of downloads.

use std::fmt;
use std::time::Duration;

/// Receives the progress of downloads. This crate prints nothing itself.
///
/// Every method does nothing by default.
pub trait Progress {
    /// A download starts, or starts over, after this many bytes that already exist.
    ///
    /// The size is `None` if the server does not announce it.
    fn start(&mut self, _file: &str, _size: Option<u64>, _done: u64) {}

    /// So many more bytes of the file have been written.
    fn advance(&mut self, _bytes: u64) {}

    /// The file is complete, verified and in the cache.
    fn finish(&mut self, _file: &str) {}

    /// Information for the user that is not an error.
    fn notice(&mut self, _notice: &Notice) {}
}

/// A [`Progress`] that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

/// Information for the user during downloads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A request failed and is retried.
    Retrying {
        /// The file of the request.
        file: String,
        /// Why it failed.
        reason: String,
        /// The delay before the retry.
        after: Duration,
    },
    /// Another process downloads the same file; this one waits for it.
    Waiting {
        /// The file.
        file: String,
    },
    /// The server announces no checksum of the file, so only its size was checked.
    Unchecked {
        /// The file.
        file: String,
        /// The ETag, which is not a checksum.
        etag: String,
    },
    /// The Hub could not be asked about a branch or tag, so the last known commit is used.
    Unreachable {
        /// The repository and the revision.
        repository: String,
        /// The commit in the cache.
        commit: String,
        /// Why the Hub could not be asked.
        reason: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrying {
                file,
                reason,
                after,
            } => write!(
                f,
                "{file}: {reason}; trying again in {:.1} s",
                after.as_secs_f64()
            ),
            Self::Waiting { file } => {
                write!(f, "{file}: another process is downloading it; waiting")
            }
            Self::Unchecked { file, etag } => write!(
                f,
                "{file}: only its size was checked, because its ETag {etag} is not a checksum"
            ),
            Self::Unreachable {
                repository,
                commit,
                reason,
            } => write!(
                f,
                "{repository}: {reason}; using commit {commit}, the last one in the cache"
            ),
        }
    }
}
