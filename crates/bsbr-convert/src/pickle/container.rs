//! The container of pickles: a ZIP archive, or none before PyTorch 1.6.

use std::io::Cursor;
use std::path::Path;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::malformed;
use super::scan::scan;
use crate::error::LoadError;

/// The magic number in the first pickle of a legacy file: 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The number of bytes in which to search for the magic number.
const MAGIC_WINDOW: usize = 64;
/// The position of a TAR archive's magic.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;
/// Pickles before the storages of a legacy file: magic number, version, system, the tensors, and
/// the order of the storages.
const LEGACY_PICKLES: usize = 5;

/// Refuses a file that is not a checkpoint, or whose pickles are unsafe.
pub(super) fn check(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let window = bytes.get(..MAGIC_WINDOW).unwrap_or(bytes);
    let mut windows = window.windows(LEGACY_MAGIC.len());
    if bytes.starts_with(b"PK\x03\x04") {
        check_zip(path, bytes)
    } else if bytes.get(TAR_MAGIC) == Some(b"ustar") {
        let message = "a TAR archive, as PyTorch wrote before 0.1.10; load it in PyTorch and save \
                       it again";
        Err(malformed(path, message))
    } else if windows.any(|window| window == LEGACY_MAGIC) {
        // The pickles are consecutive at the start of the file.
        (0..LEGACY_PICKLES)
            .try_fold(0, |start, _| scan(path, bytes, start))
            .map(drop)
    } else {
        let message = "neither a ZIP archive nor a legacy file of `torch.save`";
        Err(malformed(path, message))
    }
}

/// `torch.save` stores every file of its archive uncompressed, so `data.pkl` can be read directly.
/// Compressed archives are refused.
fn check_zip(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let wrong = |error: ZipError| malformed(path, error);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(wrong)?;
    if archive.has_duplicate_names() {
        let message = "its archive has two files with the same name";
        return Err(malformed(path, message));
    }
    let mut has_pickle = false;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(wrong)?;
        let name = entry.name().map_err(wrong)?;
        let is_stored = entry.compression() == CompressionMethod::Stored
            && !entry.encrypted()
            && entry.size() == entry.compressed_size();
        if !is_stored {
            let message = format!(
                "`{name}` in its archive is compressed or encrypted; `torch.save` does neither"
            );
            return Err(malformed(path, message));
        }
        if name.ends_with("data.pkl") {
            let content = || {
                let start = usize::try_from(entry.data_start()?).ok()?;
                let size = usize::try_from(entry.size()).ok()?;
                bytes.get(start..)?.get(..size)
            };
            scan(path, content().unwrap_or_default(), 0)?;
            has_pickle = true;
        }
    }
    if archive.has_overlapping_entries().map_err(wrong)? {
        return Err(malformed(path, "files of its archive overlap"));
    }
    match has_pickle {
        true => Ok(()),
        false => Err(malformed(path, "its archive has no `data.pkl`")),
    }
}
