//! Atomic writes of files.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::space;
use crate::temporary::{self, file_beside, folder_of};

/// Writes or replaces a file and flushes it to the disk. Its folder is created if it does not
/// exist.
///
/// # Errors
///
/// [`FileError`] if the path cannot be written; an existing file is then unchanged.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_file_with(path, |file| {
        file.write_all(bytes).map_err(FileError::io(path))
    })
}

/// Lets `fill` write a file, and moves it to its path when complete.
///
/// Links are followed, and an existing path that is not a plain file, such as a pipe, is written to
/// directly.
///
/// # Errors
///
/// [`FileError`] as `E` if the path cannot be written, and errors of `fill`; an existing file is
/// then unchanged.
pub fn write_file_with<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    write(path, |_, file| fill(file))
}

/// The same for writers that take a path: `fill` writes to the path of the unfinished file.
///
/// # Errors
///
/// Same as [`write_file_with`].
pub fn write_file_at<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    write(path, |path, _| fill(path))
}

fn write<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&Path, &mut File) -> Result<(), E>,
) -> Result<(), E> {
    let place = place(path)?;
    if is_special(&place) {
        let mut file = open(&place)?;
        return fill(&place, &mut file);
    }
    let folder = folder_of(&place);
    fs::create_dir_all(folder).map_err(FileError::io(folder))?;
    temporary::remove_abandoned(folder, |_| ());
    let mut beside = file_beside(&place).map_err(FileError::io(path))?;
    let unfinished = beside.path().to_owned();
    fill(&unfinished, beside.as_file_mut())?;
    if let Ok(before) = fs::metadata(&place) {
        // Keeps the file's permissions, if the system allows that.
        let _ = beside.as_file().set_permissions(before.permissions());
    }
    beside.as_file().sync_all().map_err(FileError::io(path))?;
    beside
        .persist(&place)
        .map_err(|error| FileError::io(path)(error.error))?;
    temporary::sync(folder);
    Ok(())
}

/// Checks before any work that a file of `bytes` bytes can be written to `path`.
///
/// # Errors
///
/// [`FileError`] if it is a folder, its folder is missing or cannot be written, or the disk has too
/// little space.
pub fn check_file(path: &Path, bytes: u64) -> Result<(), FileError> {
    let place = place(path)?;
    if is_special(&place) {
        return open(&place).map(drop);
    }
    let folder = folder_of(&place);
    temporary::remove_abandoned(folder, |_| ());
    file_beside(&place).map_err(FileError::io(path))?;
    space::check(folder, path, bytes)
}

/// The path of a file after links are followed.
fn place(path: &Path) -> Result<PathBuf, FileError> {
    if path.is_dir() {
        return Err(FileError::IsFolder {
            path: path.to_owned(),
        });
    }
    if path.file_name().is_none() {
        return Err(FileError::NoName {
            path: path.to_owned(),
        });
    }
    Ok(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
}

/// Whether the path exists but is not a file: a pipe, a terminal, `/dev/null`.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file())
}

fn open(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(FileError::io(path))
}
