//! Files as byte slices, without a copy in memory.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes};
use memmap2::Mmap;

use crate::error::LoadError;

/// The start of Git LFS pointer files.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A file mapped into memory.
///
/// # Errors
///
/// [`LoadError`] if it is not a plain file, cannot be read, or is a Git LFS pointer.
pub(crate) fn map(path: &Path) -> Result<Mmap, LoadError> {
    // Checked before opening, because opening a pipe blocks until somebody writes to it.
    let info = fs::metadata(path).map_err(LoadError::io(path))?;
    if !info.is_file() {
        return Err(LoadError::NotAFile { path: path.into() });
    }
    let file = File::open(path).map_err(LoadError::io(path))?;
    #[allow(
        unsafe_code,
        reason = "mapping is unsafe because another process may change the file meanwhile; \
                  nothing here relies on the bytes staying what they were: lengths and offsets \
                  are checked once and kept, and every bit pattern is a valid u8, and a valid \
                  float where a tensor is read in place"
    )]
    let map = unsafe { Mmap::map(&file) }.map_err(LoadError::io(path))?;
    if map.starts_with(LFS_POINTER) {
        return Err(LoadError::LfsPointer { path: path.into() });
    }
    Ok(map)
}

/// A part of a mapped file, which keeps the map alive.
struct Part {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }
}

/// A buffer for a tensor of little-endian elements of `size` bytes that is the mapped file itself.
/// `None` if the machine is big-endian, or if the part is not aligned to `size`.
///
/// Writing to the buffer makes a copy of it.
pub(crate) fn in_place(map: &Arc<Mmap>, range: Range<usize>, size: usize) -> Option<Bytes> {
    let bytes = map.get(range.clone())?;
    if cfg!(target_endian = "big") || !bytes.as_ptr().addr().is_multiple_of(size) {
        return None;
    }
    let part = Part {
        map: map.clone(),
        range,
    };
    let bytes = bytes::Bytes::from_owner(part);
    Some(Bytes::from_shared(bytes, AllocationProperty::Other))
}

/// Releases a part that was copied from the process's memory; reading it maps it again. It
/// stays if the system cannot release it.
pub(crate) fn forget(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    {
        #[allow(
            unsafe_code,
            reason = "for a private mapping that was written to, this would lose what was \
                      written; this one is read-only, and reads the same from the file again"
        )]
        // A part that stays only costs memory.
        let _ = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }
    #[cfg(not(unix))]
    let _ = (map, range);
}

/// The text of a small file.
///
/// # Errors
///
/// [`LoadError`] if it is not a plain file, is larger than `max` bytes, cannot be read or is not
/// UTF-8.
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)] // a test fails by panicking

    use super::*;

    /// KiB of a mapped file in the process's memory.
    fn resident(path: &Path) -> u64 {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps
            .lines()
            .skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        let size = line.trim().trim_end_matches(" kB");
        size.parse().unwrap()
    }

    #[test]
    fn what_was_copied_leaves_the_memory_and_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let bytes: Vec<u8> = (0..1 << 20).map(|i| (i / 4096) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let map = map(&path).unwrap();
        assert!(map[..] == bytes[..]);
        assert_eq!(resident(&path), 1024);
        forget(&map, 0..1 << 19);
        assert_eq!(resident(&path), 512);
        assert!(map[..] == bytes[..]);
    }

    #[test]
    fn only_elements_that_lie_straight_are_read_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        fs::write(&path, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let map = Arc::new(map(&path).unwrap());
        assert_eq!(in_place(&map, 4..8, 4).as_deref(), Some(&[5, 6, 7, 8][..]));
        assert_eq!(in_place(&map, 2..6, 2).as_deref(), Some(&[3, 4, 5, 6][..]));
        assert!(in_place(&map, 2..6, 4).is_none());
        assert!(in_place(&map, 4..9, 1).is_none());
    }
}
