//! Files of a folder that is being written.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path};

use crate::error::SaveError;
use crate::folder::Companion;

/// Copies a file to its place in `folder`.
pub(crate) fn copy_into(file: &Companion, folder: &Path) -> Result<(), SaveError> {
    let inside = |part| matches!(part, Component::Normal(_));
    let name = Path::new(&file.name);
    if name.as_os_str().is_empty() || !name.components().all(inside) {
        let path = file.path.clone();
        return Err(SaveError::Output(bsbr_files::FileError::NoName { path }));
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

/// The bytes of a file; 0 if it does not exist, which is reported when it is
/// copied.
pub(crate) fn size_of(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}
