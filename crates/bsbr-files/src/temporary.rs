//! Temporary names of unfinished output.
//!
//! A process holds a lock on its unfinished output while it runs, so output without a lock is
//! abandoned.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Marks such a name, after the name of the output.
const MARK: &str = ".bsbr-";
/// The extension of temporary names.
const ENDING: &str = ".tmp";
/// The extension of locks.
pub(crate) const LOCK: &str = ".bsbr-lock";
/// The number of random characters of a name.
const RANDOM: usize = 12;
/// The maximum number of bytes kept from the original name; systems allow 255 in total.
const KEPT: usize = 180;
/// The maximum number of retries if another process's cleanup removes the name.
const TRIES: usize = 16;

/// A new file beside `path`, which is removed when it is dropped.
pub(crate) fn file_beside(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = hidden(path, MARK);
    let mut tries = 0;
    loop {
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(ENDING).rand_bytes(RANDOM);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder_of(path))?;
        tries += 1;
        if tries == TRIES || holds(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
}

/// A new folder, which is removed when it is dropped, unless it was renamed.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Locked while the folder is in use. If folders cannot be locked, none is removed.
    handle: Option<File>,
}

impl Folder {
    /// In `parent`, named after `path`.
    pub(crate) fn new(parent: &Path, path: &Path) -> io::Result<Self> {
        let prefix = hidden(path, MARK);
        let mut tries = 0;
        loop {
            let mut builder = Builder::new();
            builder.prefix(&prefix).suffix(ENDING).rand_bytes(RANDOM);
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
            let path = builder.tempdir_in(parent)?.keep();
            let handle = File::open(&path).ok();
            let folder = Self { path, handle };
            tries += 1;
            let held = |handle: &File| holds(handle, &folder.path);
            if tries == TRIES || folder.handle.as_ref().is_none_or(held) {
                return Ok(folder);
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failure here cannot be handled; the caller reports the original error.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes unfinished output and locks that no process holds from `folder`; first calls `inside`
/// for each folder of unfinished output.
pub(crate) fn remove_abandoned(folder: &Path, inside: impl Fn(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        // Opening other kinds could block forever.
        if !is_unfinished(&name) || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        let Ok(handle) = File::open(&path) else {
            continue;
        };
        if handle.try_lock().is_err() {
            continue;
        }
        // What cannot be removed stays, which is harmless.
        let _ = match kind.is_dir() {
            true => {
                inside(&path);
                fs::remove_dir_all(&path)
            }
            false => fs::remove_file(&path),
        };
    }
}

/// Whether a name is that of unfinished output or a lock.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        // Our part of the name is ASCII; the rest may be anything.
        return is_unfinished(OsStr::new(&*name.to_string_lossy()));
    };
    if !name.starts_with('.') {
        return false;
    }
    let drawn = name
        .strip_suffix(ENDING)
        .and_then(|name| name.rsplit_once(MARK));
    name.ends_with(LOCK)
        || drawn.is_some_and(|(_, drawn)| {
            drawn.len() == RANDOM && drawn.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// A hidden name made of that of `path` and an ending.
pub(crate) fn hidden(path: &Path, ending: &str) -> OsString {
    let name = path.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    match name.len() {
        0..=KEPT => hidden.push(name),
        _ => {
            let name = name.to_string_lossy();
            hidden.push(&name[..name.floor_char_boundary(KEPT)]);
        }
    }
    hidden.push(ending);
    hidden
}

/// Locks a file or folder that was just made; false if another process has removed it.
pub(crate) fn holds(handle: &File, path: &Path) -> bool {
    match handle.try_lock() {
        Ok(()) => is_at(handle, path),
        Err(TryLockError::WouldBlock) => false,
        // Without locks, nothing is removed.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Whether `path` is still the name of an open file.
#[cfg(unix)]
pub(crate) fn is_at(handle: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (handle.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Whether `path` is still the name of an open file.
#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// The folder that `path` is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Flushes a folder's entries to the disk, if the system supports it.
pub(crate) fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
