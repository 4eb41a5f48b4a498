//! Folders that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use crate::error::SaveError;
use crate::folder::Companion;

/// Lets `fill` write into a folder beside `out` and renames it to `out`.
///
/// # Errors
///
/// [`SaveError`] where `out` has something in it, cannot be made, or `fill` fails; the folder
/// beside it is removed then.
pub(crate) fn write_folder(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<(), SaveError>,
) -> Result<(), SaveError> {
    refuse_occupied(out)?;
    let beside = Beside::make(out)?;
    fill(&beside.path)?;
    sync(&beside.path);
    fs::rename(&beside.path, out).map_err(SaveError::io(out))?;
    if let Some(parent) = parent_of(out) {
        sync(parent);
    }
    Ok(())
}

/// Writes a file through to the disk.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(SaveError::io(path))
}

/// Copies a file to its place in `folder`.
pub(crate) fn copy_into(file: &Companion, folder: &Path) -> Result<(), SaveError> {
    let inside = |part| matches!(part, Component::Normal(_));
    let name = Path::new(&file.name);
    if name.as_os_str().is_empty() || !name.components().all(inside) {
        return Err(SaveError::NoName {
            path: file.path.clone(),
        });
    }
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(SaveError::io(parent))?;
    }
    let mut from = File::open(&file.path).map_err(SaveError::io(&file.path))?;
    let mut to = File::create(&path).map_err(SaveError::io(&path))?;
    io::copy(&mut from, &mut to)
        .and_then(|_| to.sync_all())
        .map_err(SaveError::io(&path))
}

/// Refuses a place where there is something other than an empty folder.
fn refuse_occupied(out: &Path) -> Result<(), SaveError> {
    let exists = || SaveError::Exists {
        path: out.to_owned(),
    };
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(exists()),
        },
        Err(_) if out.symlink_metadata().is_ok() => Err(exists()),
        Err(_) => Ok(()),
    }
}

fn parent_of(out: &Path) -> Option<&Path> {
    out.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// A new folder that is removed when it is dropped; renamed before, it is no longer there.
struct Beside {
    path: PathBuf,
}

impl Beside {
    fn make(out: &Path) -> Result<Self, SaveError> {
        let no_name = || SaveError::NoName {
            path: out.to_owned(),
        };
        let name = out.file_name().ok_or_else(no_name)?;
        let parent = parent_of(out).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(SaveError::io(parent))?;
        let mut number = 0;
        loop {
            let mut beside = std::ffi::OsString::from(".");
            beside.push(name);
            beside.push(format!(".{}-{number}.tmp", std::process::id()));
            let path = parent.join(beside);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(e) => return Err(SaveError::io(&path)(e)),
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Nothing can be done where it fails; the error that led here is the one to report.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Writes a folder's entries through to the disk, on systems that can.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
