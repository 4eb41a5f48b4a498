//! What can go wrong with output.

use std::io;
use std::path::{Path, PathBuf};

/// A place that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused.
    #[error("{path}: {source}; choose a place that can be written to")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something where a folder is to be made.
    #[error("{path}: exists and is not an empty folder; choose another, or remove it first")]
    Occupied {
        /// The place.
        path: PathBuf,
    },
    /// There is a folder where a file is to be written.
    #[error("{path}: is a folder; give the name of a file")]
    IsFolder {
        /// The place.
        path: PathBuf,
    },
    /// A path that names nothing that could be made.
    #[error("{path}: does not name a file or folder; give the one to be made")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A disk without room.
    #[error(
        "{path}: {needed} bytes are needed and the disk has {free} left; \
         make room, or choose another place"
    )]
    Full {
        /// The place.
        path: PathBuf,
        /// Bytes that are to be written.
        needed: u64,
        /// Bytes that there is room for.
        free: u64,
    },
    /// Another process writes there.
    #[error(
        "{path}: {} writes there; wait until it ends, or choose another place",
        process(*.holder)
    )]
    InUse {
        /// The place.
        path: PathBuf,
        /// The other's process id, where it could be read.
        holder: Option<u32>,
    },
}

fn process(holder: Option<u32>) -> String {
    match holder {
        Some(id) => format!("process {id}"),
        None => "another process".to_owned(),
    }
}

impl FileError {
    /// What makes an error of the system one of this path.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }
}
