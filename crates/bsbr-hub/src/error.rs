//! Errors of obtaining a file.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why files are unavailable. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Text that is not the name of a repository.
    #[error(
        "{name:?} is not the name of a repository on the Hub: {reason}; write owner/name, \
         optionally followed by @revision"
    )]
    InvalidName {
        /// The text.
        name: String,
        /// The error in it.
        reason: &'static str,
    },
    /// A path that does not exist.
    #[error("there is no folder {path}: check the path, or give a name on the Hub, owner/name")]
    NoSuchFolder {
        /// The path.
        path: PathBuf,
    },
    /// A path that is not a file of a repository.
    #[error(
        "{path:?} is not the path of a file in a repository: {reason}; write a path such as \
             data/train.txt"
    )]
    InvalidPath {
        /// The path.
        path: String,
        /// The error in it.
        reason: &'static str,
    },
    /// An invalid setting.
    #[error("{setting} is {value:?}, expected {expected}")]
    InvalidSetting {
        /// The setting or the environment variable.
        setting: &'static str,
        /// Its value; hidden if it is secret.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// No setting names the cache.
    #[error("no folder for the cache: set HF_HUB_CACHE, HF_HOME or HOME")]
    NoCacheFolder,
    /// Files are not in the cache, and the network may not be used.
    #[error(
        "offline, and {cache} lacks {} of {repository}: \
         unset HF_HUB_OFFLINE and run again with a network, or give a local folder",
        .missing.join(", ")
    )]
    Offline {
        /// The repository and the revision.
        repository: String,
        /// The missing files.
        missing: Vec<String>,
        /// The cache.
        cache: PathBuf,
    },
    /// An unreachable host.
    #[error(
        "cannot reach {host}: {source}; check the network, the proxy and HF_ENDPOINT, \
         or set HF_HUB_OFFLINE=1 to use what the cache has"
    )]
    Network {
        /// The host.
        host: String,
        /// The system's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A connection that ended before the file was complete.
    #[error("the connection broke during the download of {file}: {source}; run again to resume")]
    Interrupted {
        /// The file.
        file: String,
        /// The system's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A repository that does not exist, or is not visible to the user.
    #[error(
        "the Hub has no {repository}: check the name{}",
        if *.with_token { ", and that your token is allowed to read it if it is private" }
        else { ", and set HF_TOKEN if it is private" }
    )]
    RepositoryNotFound {
        /// The repository and the revision.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A revision that does not exist.
    #[error(
        "{repository} does not exist at this revision: \
         name a branch, a tag or a whole commit that its page lists"
    )]
    RevisionNotFound {
        /// The repository and the revision.
        repository: String,
    },
    /// A file that does not exist.
    #[error("{repository} has no {file}: check the file's name and the revision on its page")]
    FileNotFound {
        /// The repository and the revision.
        repository: String,
        /// The file, or several of which one is required.
        file: String,
        /// Whether the Hub itself said so. A bare status 404 may be a mirror's temporary
        /// failure.
        confirmed: bool,
    },
    /// A repository that requires acceptance of its terms.
    #[error(
        "{repository} is gated: accept its terms at {page}, then {}",
        if *.with_token { "run again; your token must belong to the account that accepted" }
        else { "set HF_TOKEN to a token of the account that accepted" }
    )]
    Gated {
        /// The repository and the revision.
        repository: String,
        /// The page of its terms.
        page: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A repository that the user may not access.
    #[error(
        "the Hub refuses {repository} (status {status}): {}",
        if *.with_token { "check that HF_TOKEN is correct, not expired, and allowed to read it" }
        else { "set HF_TOKEN to a token that is allowed to read it" }
    )]
    Unauthorized {
        /// The repository and the revision.
        repository: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Too many requests.
    #[error(
        "{host} asks for fewer requests (status 429): {}, or set HF_TOKEN for a higher limit",
        .retry_after.map_or("run again later".to_owned(),
            |wait| format!("run again in {} s", wait.as_secs()))
    )]
    RateLimited {
        /// The host.
        host: String,
        /// The requested delay, if any.
        retry_after: Option<Duration>,
    },
    /// An error of the server.
    #[error("{host} has a problem (status {status}) with {file}: run again later")]
    Server {
        /// The host.
        host: String,
        /// 408 or 500 and above.
        status: u16,
        /// The file.
        file: String,
    },
    /// A response that is not one of the Hub's.
    #[error("{url} sent an unusable answer: {reason}; check HF_ENDPOINT and the proxy")]
    BadResponse {
        /// The address, without its query.
        url: String,
        /// The error in it.
        reason: String,
    },
    /// A file whose length differs from the server's announcement.
    #[error(
        "{file} has {found} bytes, but the server announced {expected}: the download was deleted; \
         run again"
    )]
    SizeMismatch {
        /// The file.
        file: String,
        /// The announced size, in bytes.
        expected: u64,
        /// The number of received bytes, or a lower bound.
        found: u64,
    },
    /// A file of unknown size that exceeds the limit.
    #[error(
        "{file} exceeds {limit} bytes, and no server announced its size: the download was deleted; \
         check HF_ENDPOINT and the proxy, which should announce the size"
    )]
    UnknownSize {
        /// The file.
        file: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file whose checksum differs from the server's announcement.
    #[error(
        "the {algorithm} of {file} is {found}, but the server announced {expected}: the download \
         was deleted; run again, and check HF_ENDPOINT and the proxy if the error persists"
    )]
    ChecksumMismatch {
        /// The file.
        file: String,
        /// `SHA-256` or `git SHA-1`.
        algorithm: &'static str,
        /// The announced checksum.
        expected: String,
        /// The checksum of the received file.
        found: String,
    },
    /// A full disk.
    #[error(
        "no space left for {path}: free some, or move the cache with HF_HUB_CACHE; the partial \
         download is kept, and the next run resumes it"
    )]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A local file that cannot be read or written.
    #[error("cannot {action} {path}: {source}; check its permissions, or set HF_HUB_CACHE")]
    Io {
        /// The attempted operation: "read", "write", ….
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl HubError {
    /// Adds the path and the operation to a system error; a full disk is distinguished.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl Fn(io::Error) -> Self {
        let path = path.into();
        move |source| {
            let path = path.clone();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::DiskFull { path, source }
                }
                _ => Self::Io {
                    action,
                    path,
                    source,
                },
            }
        }
    }

    /// A connection that ended before a file was complete.
    pub(crate) fn interrupted(
        file: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Interrupted {
            file: file.to_owned(),
            source: source.into(),
        }
    }

    /// Whether a retry may succeed.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Interrupted { .. } | Self::RateLimited { .. } | Self::Server { .. }
        )
    }

    /// Whether the Hub could not be reached, as opposed to refusing.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.is_temporary() || matches!(self, Self::Network { .. })
    }
}
