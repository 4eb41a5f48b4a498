//! Folders that are there whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::file::write_file;
use crate::space;
use crate::temporary::{self, Folder, file_beside, folder_of, is_unfinished, sync};

/// The file whose presence makes a folder a model; it is moved last.
const LAST: &str = "config.json";
/// What is written of a folder that is moved file by file.
const CONTENT: &str = "content";
/// The names of what has been moved, or is about to be: a line each.
const MOVED: &str = "moved";
/// What a new disk has in it.
const OF_THE_DISK: &str = "lost+found";

/// How a folder comes to its place.
enum Place {
    /// It is written beside and renamed to this.
    Beside(PathBuf),
    /// It is an empty folder that cannot be replaced, such as a mount point: what is written into a
    /// folder in it is moved up.
    Inside(PathBuf),
}

/// Says before any work that a folder of `bytes` bytes could not be made at `out`.
///
/// # Errors
///
/// [`FileError`] where `out` has something in it, cannot be made or written, or the disk has no room.
pub fn check_folder(out: &Path, bytes: u64) -> Result<(), FileError> {
    let known = match place(out)? {
        Place::Inside(folder) => folder,
        Place::Beside(target) => {
            let mut parent = folder_of(&target).to_owned();
            // Folders above it are made when it is.
            while !parent.exists() {
                parent = match parent.parent() {
                    Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
                    _ => PathBuf::from("."),
                };
            }
            parent
        }
    };
    drop(Folder::new(&known, out).map_err(FileError::io(out))?);
    space::check(&known, out, bytes)
}

/// Lets `fill` write into a new folder, and puts that in the place of `out`; folders above it are
/// made.
///
/// # Errors
///
/// [`FileError`] as `E` where `out` has something in it or cannot be made, and what `fill` gives.
/// Nothing is left behind then.
pub fn write_folder<E: From<FileError>>(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    match place(out)? {
        Place::Beside(target) => {
            let parent = folder_of(&target);
            fs::create_dir_all(parent).map_err(FileError::io(parent))?;
            temporary::remove_abandoned(parent, |_| ());
            let beside = Folder::new(parent, out).map_err(FileError::io(out))?;
            fill(&beside.path)?;
            sync(&beside.path);
            fs::rename(&beside.path, &target).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => occupied(out),
                _ => FileError::io(out)(error),
            })?;
            sync(parent);
        }
        Place::Inside(folder) => {
            let below = Folder::new(&folder, out).map_err(FileError::io(out))?;
            let content = below.path.join(CONTENT);
            fs::create_dir(&content).map_err(FileError::io(&content))?;
            fill(&content)?;
            sync(&content);
            move_up(&below.path, &folder)?;
            sync(&folder);
        }
    }
    Ok(())
}

fn place(out: &Path) -> Result<Place, FileError> {
    if out.file_name().is_none() && !out.is_dir() {
        return Err(FileError::NoName {
            path: out.to_owned(),
        });
    }
    match fs::symlink_metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Place::Beside(out.to_owned()));
        }
        Err(error) => return Err(FileError::io(out)(error)),
        Ok(_) if !out.is_dir() => return Err(occupied(out)),
        Ok(_) => {}
    }
    let folder = out.canonicalize().map_err(FileError::io(out))?;
    temporary::remove_abandoned(&folder, |abandoned| take_back(abandoned, &folder));
    let entries = fs::read_dir(&folder).map_err(FileError::io(out))?;
    for entry in entries {
        let name = entry.map_err(FileError::io(out))?.file_name();
        if name != OF_THE_DISK && !is_unfinished(&name) {
            return Err(occupied(out));
        }
    }
    Ok(match can_be_replaced(&folder) {
        true => Place::Beside(folder),
        false => Place::Inside(folder),
    })
}

fn occupied(out: &Path) -> FileError {
    FileError::Occupied {
        path: out.to_owned(),
    }
}

/// Whether an empty folder is on the same mount as the one that it is in, which can be written: then
/// a file can be renamed from there into it.
fn can_be_replaced(folder: &Path) -> bool {
    let Some(parent) = folder.parent() else {
        return false;
    };
    let empty = fs::read_dir(folder).is_ok_and(|mut inside| inside.next().is_none());
    let Ok(file) = file_beside(folder) else {
        return false;
    };
    let Some(name) = file.path().file_name() else {
        return false;
    };
    let (from, to) = (parent.join(name), folder.join(name));
    let moved = fs::rename(&from, &to).is_ok();
    if moved {
        // Its owner removes it under its first name.
        let _ = fs::rename(&to, &from);
    }
    empty && moved
}

/// Moves what is in `below`, which is in `folder`, to `folder`.
fn move_up(below: &Path, folder: &Path) -> Result<(), FileError> {
    let content = below.join(CONTENT);
    let mut names: Vec<OsString> = fs::read_dir(&content)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(FileError::io(&content))?;
    names.sort_by_key(|name| (name == LAST, name.clone()));
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("{}\n", name.to_string_lossy()))
        .collect();
    write_file(&below.join(MOVED), lines.concat().as_bytes())?;
    for name in &names {
        let to = folder.join(name);
        let moved = match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(content.join(name), &to),
        };
        if let Err(error) = moved {
            take_back(below, folder);
            return Err(FileError::io(&to)(error));
        }
    }
    Ok(())
}

/// Removes from `folder` what was moved there from `below`, a folder in it.
fn take_back(below: &Path, folder: &Path) {
    let Ok(moved) = fs::read_to_string(below.join(MOVED)) else {
        return;
    };
    for name in moved.lines() {
        let plain = Path::new(name).file_name().is_some_and(|only| only == name);
        let waits = below.join(CONTENT).join(name).symlink_metadata().is_ok();
        if !plain || waits {
            continue;
        }
        let path = folder.join(name);
        // What cannot be removed makes the folder one that is not empty, which is said.
        let _ = match path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}
