//! Atomic writes of folders.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::file::write_file;
use crate::space;
use crate::temporary::{self, Folder, file_beside, folder_of, is_unfinished, sync};

/// The file that makes a folder a model; it is moved last.
const LAST: &str = "config.json";
/// The contents of a folder that is moved file by file.
const CONTENT: &str = "content";
/// The names of moved files, and of the next one, one per line.
const MOVED: &str = "moved";
/// The entry of a new disk.
const OF_THE_DISK: &str = "lost+found";

/// How a folder is moved to its path.
enum Destination {
    /// It is written beside this path and renamed.
    Beside(PathBuf),
    /// The path is an empty folder that cannot be replaced, such as a mount point: files are
    /// written to a subfolder and moved up.
    Inside(PathBuf),
}

/// Checks before any work that a folder of `bytes` bytes can be made at `out`.
///
/// # Errors
///
/// [`FileError`] if `out` is not empty, cannot be made or written, or the disk has too little
/// space.
pub fn check_folder(out: &Path, bytes: u64) -> Result<(), FileError> {
    let known = match destination(out)? {
        Destination::Inside(folder) => folder,
        Destination::Beside(target) => {
            let mut parent = folder_of(&target).to_owned();
            // Missing parent folders will be created.
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

/// Lets `fill` write to a new folder, and moves it to `out`; parent folders are created.
///
/// # Errors
///
/// [`FileError`] as `E` if `out` is not empty or cannot be made, and errors of `fill`. In this case
/// nothing is left behind.
pub fn write_folder<E: From<FileError>>(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    match destination(out)? {
        Destination::Beside(target) => {
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
        Destination::Inside(folder) => {
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

fn destination(out: &Path) -> Result<Destination, FileError> {
    if out.file_name().is_none() && !out.is_dir() {
        return Err(FileError::NoName {
            path: out.to_owned(),
        });
    }
    match fs::symlink_metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Destination::Beside(out.to_owned()));
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
        true => Destination::Beside(folder),
        false => Destination::Inside(folder),
    })
}

fn occupied(out: &Path) -> FileError {
    FileError::Occupied {
        path: out.to_owned(),
    }
}

/// Whether an empty folder is on the same mount as its parent, and the parent is writable: then a
/// folder can be renamed onto it.
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

/// Moves the contents of `below`, a subfolder of `folder`, to `folder`.
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

/// Removes from `folder` what was moved there from its subfolder `below`.
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
        // If something cannot be removed, the folder is not empty, which is reported.
        let _ = match path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}
