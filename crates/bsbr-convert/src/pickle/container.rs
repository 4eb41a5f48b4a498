//! The container of pickles: a ZIP archive, or none before PyTorch 1.6.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use super::FORMAT;
use super::cursor::MAX_PICKLE;
use super::scan::{Refusal, scan};
use crate::error::LoadError;

/// The maximum number of files in an archive, which has one per tensor.
const MAX_ENTRIES: usize = 100_000;
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
    if bytes.starts_with(b"PK\x03\x04") {
        check_zip(path, bytes)
    } else if bytes.get(TAR_MAGIC).is_some_and(|magic| magic == b"ustar") {
        Err(malformed(
            path,
            "a TAR archive, as PyTorch wrote before 0.1.10; load it in PyTorch and save it again",
        ))
    } else if window
        .windows(LEGACY_MAGIC.len())
        .any(|window| window == LEGACY_MAGIC)
    {
        check_legacy(path, bytes)
    } else {
        Err(malformed(
            path,
            "neither a ZIP archive nor a legacy file of `torch.save`",
        ))
    }
}

/// The pickles are consecutive at the start of the file.
fn check_legacy(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let mut start = 0;
    for _ in 0..LEGACY_PICKLES {
        let rest = bytes.get(start..).unwrap_or_default();
        start += scan(rest).map_err(|refusal| refused(path, start, refusal))?;
    }
    Ok(())
}

/// `torch.save` stores every file of its archive uncompressed, so `data.pkl` can be read directly.
/// Compressed archives are refused.
fn check_zip(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let wrong = |e: zip::result::ZipError| malformed(path, &e.to_string());
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(wrong)?;
    if archive.len() > MAX_ENTRIES {
        return Err(malformed(
            path,
            &format!(
                "its archive has {} files, expected at most {MAX_ENTRIES}",
                archive.len()
            ),
        ));
    }
    if archive.has_duplicate_names() {
        return Err(malformed(
            path,
            "its archive has two files with the same name",
        ));
    }
    let mut pickles = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(wrong)?;
        let name = entry.name().map_err(wrong)?.into_owned();
        let is_pickle = name.ends_with("data.pkl");
        if entry.compression() != CompressionMethod::Stored
            || entry.encrypted()
            || entry.size() != entry.compressed_size()
        {
            return Err(malformed(
                path,
                &format!(
                    "`{name}` in its archive is compressed or encrypted; `torch.save` does neither"
                ),
            ));
        }
        if is_pickle && entry.size() > MAX_PICKLE as u64 {
            return Err(malformed(
                path,
                &format!(
                    "`{name}` has {} bytes, expected at most {MAX_PICKLE}",
                    entry.size()
                ),
            ));
        }
        if is_pickle {
            pickles.push(index);
        }
    }
    if archive.has_overlapping_entries().map_err(wrong)? {
        return Err(malformed(path, "files of its archive overlap"));
    }
    if pickles.is_empty() {
        return Err(malformed(path, "its archive has no `data.pkl`"));
    }
    for index in pickles {
        let mut pickle = Vec::new();
        archive
            // `pytorch-reader` checks the sum, unless `torch.save` wrote none.
            .by_index_with_options(index, ZipReadOptions::new().ignore_crc32(true))
            .map_err(wrong)?
            .take(MAX_PICKLE as u64)
            .read_to_end(&mut pickle)
            .map_err(|e| malformed(path, &e.to_string()))?;
        scan(&pickle).map_err(|refusal| refused(path, 0, refusal))?;
    }
    Ok(())
}

fn malformed(path: &Path, message: &str) -> LoadError {
    LoadError::malformed(path, FORMAT, message)
}

fn refused(path: &Path, start: usize, refusal: Refusal) -> LoadError {
    match refusal {
        Refusal::Name(name) => LoadError::ForbiddenName {
            path: path.into(),
            name,
        },
        Refusal::At { offset, message } => malformed(
            path,
            &format!("its pickle, at byte {}: {message}", start + offset),
        ),
    }
}
