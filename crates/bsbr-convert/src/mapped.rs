//! Files as byte slices, without a copy in memory.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use memmap2::Mmap;

use crate::error::LoadError;

/// What the pointer files of Git LFS start with.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A file mapped into memory.
///
/// # Errors
///
/// [`LoadError`] where it is not a plain file, cannot be read, or is a Git LFS pointer.
pub(crate) fn map(path: &Path) -> Result<Mmap, LoadError> {
    // Asked before opening: a pipe would block until somebody writes to it.
    let info = fs::metadata(path).map_err(LoadError::io(path))?;
    if !info.is_file() {
        return Err(LoadError::NotAFile { path: path.into() });
    }
    let file = File::open(path).map_err(LoadError::io(path))?;
    #[allow(
        unsafe_code,
        reason = "mapping is unsafe because another process may change the file meanwhile; \
                  nothing here relies on the bytes staying what they were: lengths and offsets \
                  are checked once and kept, and every bit pattern is a valid u8"
    )]
    let map = unsafe { Mmap::map(&file) }.map_err(LoadError::io(path))?;
    if map.starts_with(LFS_POINTER) {
        return Err(LoadError::LfsPointer { path: path.into() });
    }
    Ok(map)
}

/// The text of a small file.
///
/// # Errors
///
/// [`LoadError`] where it is not a plain file, is larger than `max` bytes, cannot be read or is
/// not UTF-8.
pub(crate) fn read_text(path: &Path, max: u64) -> Result<String, LoadError> {
    let info = fs::metadata(path).map_err(LoadError::io(path))?;
    if !info.is_file() {
        return Err(LoadError::NotAFile { path: path.into() });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max + 1).read_to_end(&mut bytes))
        .map_err(LoadError::io(path))?;
    if bytes.len() as u64 > max {
        return Err(LoadError::FileTooLarge {
            path: path.into(),
            found: info.len(),
            max,
        });
    }
    if bytes.starts_with(LFS_POINTER) {
        return Err(LoadError::LfsPointer { path: path.into() });
    }
    String::from_utf8(bytes).map_err(|e| LoadError::malformed(path, "text", e))
}
