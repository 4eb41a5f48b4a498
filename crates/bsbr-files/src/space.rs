//! Room on a disk.

use std::path::Path;

use crate::error::FileError;

/// Refuses a folder whose disk has less room than `bytes`. What the system does not tell passes.
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

/// What the system does not tell passes.
#[cfg(not(unix))]
pub(crate) fn check(_: &Path, _: &Path, _: u64) -> Result<(), FileError> {
    Ok(())
}
