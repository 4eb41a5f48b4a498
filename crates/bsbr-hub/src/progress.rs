//! What is said while files are fetched.

use std::fmt;
use std::time::Duration;

/// Is told how a download goes. Nothing is drawn or printed here: that is for the caller to do.
///
/// Every method does nothing by default.
pub trait Progress {
    /// A file's download starts, or starts over: `done` of its bytes are already here.
    ///
    /// `size` is unknown where the server does not say it.
    fn start(&mut self, file: &str, size: Option<u64>, done: u64) {
        let _ = (file, size, done);
    }

    /// So many more bytes of the file have been written.
    fn advance(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// The file is complete, checked and in its place.
    fn finish(&mut self, file: &str) {
        let _ = file;
    }

    /// Something that a user may want to know, and that is no error.
    fn notice(&mut self, notice: &Notice) {
        let _ = notice;
    }
}

/// A [`Progress`] that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

/// What a user may want to know while files are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A request failed and is tried again.
    Retrying {
        /// The file that it is about.
        file: String,
        /// Why it failed.
        reason: String,
        /// How long it waits before.
        after: Duration,
    },
    /// Another process downloads the same file; this one waits for it.
    Waiting {
        /// The file.
        file: String,
    },
    /// The server names no checksum of the file: only its size was compared.
    Unchecked {
        /// The file.
        file: String,
        /// The ETag, which is no checksum.
        etag: String,
    },
    /// The Hub could not be asked what a branch or tag is now: the last known commit is used.
    Unreachable {
        /// The repository and the revision.
        repository: String,
        /// The commit that the cache knows.
        commit: String,
        /// Why it could not be asked.
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
            } => {
                write!(
                    f,
                    "{file}: {reason}; trying again in {:.1} s",
                    after.as_secs_f64()
                )
            }
            Self::Waiting { file } => {
                write!(f, "{file}: another process is downloading it; waiting")
            }
            Self::Unchecked { file, etag } => write!(
                f,
                "{file}: its size was compared but no checksum, for its ETag {etag} is none"
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
