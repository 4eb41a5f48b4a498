//! Errors of writing output.

use std::io;
use std::path::{Path, PathBuf};

/// A path that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused access.
    #[error("{path}: {source}; choose a writable path")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path of a new folder exists and is not an empty folder.
    #[error("{path}: exists and is not an empty folder; choose another, or remove it first")]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The path of a file is a folder.
    #[error("{path}: is a folder; give the name of a file")]
    IsFolder {
        /// The path.
        path: PathBuf,
    },
    /// A path without a usable name.
    #[error("{path}: does not name a file or folder; name the one to create")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// A disk with too little space.
    #[error(
        "{path}: {needed} bytes are needed, but the disk has {free} free; free some space, or \
         choose another path"
    )]
    Full {
        /// The path.
        path: PathBuf,
        /// Bytes to write.
        needed: u64,
        /// Free bytes.
        free: u64,
    },
    /// Another process writes to the path.
    #[error(
        "{path}: in use by {}; wait until it ends, or choose another path",
        process(*.holder)
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// The other's process id, if it could be read.
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
    /// Adds this path to a system error.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }
}
