//! What can go wrong on the way to a file.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why files are not here. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Text that is no name of a repository.
    #[error(
        "{name:?} is no name of a repository on the Hub: {reason}; \
         write owner/name, and @revision after it if you want"
    )]
    InvalidName {
        /// The text.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path that is not there.
    #[error("there is no folder {path}: check the path, or give a name on the Hub, owner/name")]
    NoSuchFolder {
        /// The path.
        path: PathBuf,
    },
    /// A path that is no file of a repository.
    #[error("{path:?} is no file in a repository: {reason}; write a path such as data/train.txt")]
    InvalidPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting that cannot be used.
    #[error("{setting} is {value:?}, expected {expected}")]
    InvalidSetting {
        /// The setting or the environment variable.
        setting: &'static str,
        /// Its value; hidden where it is secret.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Nothing says where the cache is.
    #[error("no folder for the cache: set HF_HUB_CACHE, HF_HOME or HOME")]
    NoCacheFolder,
    /// The network may not be used, and the cache lacks something.
    #[error(
        "offline, and {cache} lacks {} of {repository}: \
         unset HF_HUB_OFFLINE and run again with a network, or give a local folder",
        .missing.join(", ")
    )]
    Offline {
        /// The repository and the revision.
        repository: String,
        /// What the cache lacks.
        missing: Vec<String>,
        /// The cache.
        cache: PathBuf,
    },
    /// A host cannot be reached.
    #[error(
        "cannot reach {host}: {source}; check the network, the proxy and HF_ENDPOINT, \
         or set HF_HUB_OFFLINE=1 to use what the cache has"
    )]
    Network {
        /// The host.
        host: String,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A connection broke before all was here.
    #[error("the connection broke while {file} was fetched: {source}; run again to go on with it")]
    Interrupted {
        /// The file.
        file: String,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No such repository, or one that is hidden from whoever asks.
    #[error(
        "the Hub knows no {repository}: check the name{}",
        if *.with_token { ", and that your token may read it if it is private" }
        else { ", and set HF_TOKEN if it is private" }
    )]
    RepositoryNotFound {
        /// The repository and the revision.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository has no such revision.
    #[error(
        "{repository} does not exist at this revision: \
         name a branch, a tag or a whole commit that its page lists"
    )]
    RevisionNotFound {
        /// The repository and the revision.
        repository: String,
    },
    /// The repository has no such file.
    #[error("{repository} has no {file}: check the file's name and the revision on its page")]
    FileNotFound {
        /// The repository and the revision.
        repository: String,
        /// The file, or the files one of which would do.
        file: String,
        /// Whether the Hub itself said so. A bare status 404 may be a mirror's passing trouble.
        confirmed: bool,
    },
    /// The repository is open to those who accepted its terms.
    #[error(
        "{repository} is gated: accept its terms at {page}, then {}",
        if *.with_token { "run again; your token must belong to the account that accepted" }
        else { "set HF_TOKEN to a token of the account that accepted" }
    )]
    Gated {
        /// The repository and the revision.
        repository: String,
        /// Where its terms are.
        page: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Whoever asks may not have it.
    #[error(
        "the Hub refuses {repository} (status {status}): {}",
        if *.with_token { "check that HF_TOKEN is right, not expired, and may read it" }
        else { "set HF_TOKEN to a token that may read it" }
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
        /// How long it asks to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The server has a problem of its own.
    #[error("{host} has a problem (status {status}) with {file}: run again later")]
    Server {
        /// The host.
        host: String,
        /// 408 or 500 and above.
        status: u16,
        /// The file.
        file: String,
    },
    /// An answer that the Hub does not give.
    #[error("{url} gave an answer that cannot be used: {reason}; check HF_ENDPOINT and the proxy")]
    BadResponse {
        /// The address, without what follows a question mark.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not as long as the server said.
    #[error(
        "{file} has {found} bytes, the server announced {expected}: \
         the download was deleted, run again"
    )]
    SizeMismatch {
        /// The file.
        file: String,
        /// The size announced, in bytes.
        expected: u64,
        /// The bytes that came, or at least so many.
        found: u64,
    },
    /// A file whose size nobody announced goes on beyond the limit for those.
    #[error(
        "{file} goes on beyond {limit} bytes, and no server announced its size: \
         the download was deleted, check HF_ENDPOINT and the proxy, which should say how long it is"
    )]
    Endless {
        /// The file.
        file: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file is not the one that the server named.
    #[error(
        "the {algorithm} of {file} is {found}, the server announced {expected}: \
         the download was deleted, run again, and check HF_ENDPOINT and the proxy if it stays so"
    )]
    ChecksumMismatch {
        /// The file.
        file: String,
        /// `SHA-256` or `git SHA-1`.
        algorithm: &'static str,
        /// The checksum announced.
        expected: String,
        /// The checksum of what came.
        found: String,
    },
    /// No room for the file.
    #[error(
        "no space left for {path}: free some, or move the cache with HF_HUB_CACHE; \
         what was fetched is kept, and the next run goes on with it"
    )]
    DiskFull {
        /// What was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of this machine cannot be read or written.
    #[error("cannot {action} {path}: {source}; check its permissions, or set HF_HUB_CACHE")]
    Io {
        /// What was tried: "read", "write", ….
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HubError {
    /// Names the path and what was tried with it; a full disk is told from the rest.
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

    /// Whether the same request may succeed in a moment.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Interrupted { .. } | Self::RateLimited { .. } | Self::Server { .. }
        )
    }

    /// Whether the Hub could not be asked, rather than said no.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.may_pass() || matches!(self, Self::Network { .. })
    }
}
