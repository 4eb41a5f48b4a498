//! Disk space.

use std::path::Path;

use crate::error::FileError;

/// Refuses a folder whose disk has less than `bytes` bytes of space. Unknown space is accepted.
#[cfg(unix)]
pub(crate) fn check(folder: &Path, place: &Path, bytes: u64) -> Result<(), FileError> {
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match disk.f_blocks == 0 || free >= bytes {
        true => Ok(()),
        false => Err(FileError::Full {
            path: place.to_owned(),
            needed: bytes,
            free,
        }),
    }
}

/// Unknown space is accepted.
#[cfg(not(unix))]
pub(crate) fn check(_: &Path, _: &Path, _: u64) -> Result<(), FileError> {
    Ok(())
}
