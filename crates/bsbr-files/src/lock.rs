//! Locks that exclude other processes from a path.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::temporary::{LOCK, folder_of, hidden, is_at};

/// The maximum number of retries if the holder of a lock removes it.
const TRIES: usize = 100;

/// Excludes other processes from a file or folder until it is dropped.
///
/// It is a system lock on a hidden file beside the path, which contains the process's id. The
/// system releases it when the process ends for any reason.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of `place`, which need not exist; its parent folder is created.
    ///
    /// # Errors
    ///
    /// [`FileError::InUse`] if another process, or another part of this one, holds it, and
    /// [`FileError::Io`] if it cannot be made.
    pub fn acquire(place: &Path) -> Result<Self, FileError> {
        let real = resolved(place);
        if real.file_name().is_none() {
            return Self::at(place, real.join(LOCK));
        }
        let parent = folder_of(&real);
        fs::create_dir_all(parent).map_err(FileError::io(parent))?;
        match Self::at(place, parent.join(hidden(&real, LOCK))) {
            // A folder may be writable although its parent is not.
            Err(FileError::Io { .. }) if real.is_dir() => Self::at(place, real.join(LOCK)),
            other => other,
        }
    }

    fn at(place: &Path, path: PathBuf) -> Result<Self, FileError> {
        let io = |error| FileError::io(place)(error);
        for _ in 0..TRIES {
            let mut file = OpenOptions::new()
                .create(true)
                .read(true)
                .write(true)
                .truncate(false)
                .open(&path)
                .map_err(io)?;
            match file.try_lock() {
                // Its holder has removed it after it was opened.
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(FileError::InUse {
                        path: place.to_owned(),
                        holder: holder(&path),
                    });
                }
                // Some network disks do not support locks.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            file.set_len(0).map_err(io)?;
            file.write_all(std::process::id().to_string().as_bytes())
                .map_err(io)?;
            return Ok(Self { path, file });
        }
        Err(FileError::InUse {
            path: place.to_owned(),
            holder: None,
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that no other process's lock is removed.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The canonical path: links are followed in the part that exists.
fn resolved(place: &Path) -> PathBuf {
    if let Ok(real) = place.canonicalize() {
        return real;
    }
    match (place.parent(), place.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = match parent.as_os_str().is_empty() {
                true => Path::new("."),
                false => parent,
            };
            resolved(parent).join(name)
        }
        _ => place.to_owned(),
    }
}
