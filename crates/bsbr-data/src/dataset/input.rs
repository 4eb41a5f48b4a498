//! The decompressed bytes of a dataset file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::DatasetError;
use super::kind::Packing;
use super::zstd::ZstdReader;

/// The mark that editors on Windows write before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Bytes read at a time.
const BUFFER: usize = 1 << 16;

/// A file that is read from its start, without a byte-order mark.
pub(super) struct Input {
    path: PathBuf,
    reader: BufReader<Box<dyn Read + Send>>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// Opens a file, which may be compressed.
    pub(super) fn open(path: &Path, packing: Packing) -> Result<Self, DatasetError> {
        let path = path.to_owned();
        let failed = |source| DatasetError::Io {
            file: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(failed)?;
        let unpacked: Box<dyn Read + Send> = match packing {
            Packing::None => Box::new(file),
            Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
            Packing::Zstd => Box::new(ZstdReader::new(file)),
        };
        let mut reader = BufReader::with_capacity(BUFFER, unpacked);
        let start = reader.fill_buf().map_err(failed)?;
        if start.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        } else if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(DatasetError::Malformed {
                file: path,
                expected: "text in UTF-8",
                found: "UTF-16, by its first two bytes".to_owned(),
            });
        }
        Ok(Self { path, reader })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends up to `count` bytes to `bytes`; fewer only at the end.
    pub(super) fn read(
        &mut self,
        bytes: &mut Vec<u8>,
        count: usize,
    ) -> Result<usize, DatasetError> {
        let read = self.reader.by_ref().take(count as u64).read_to_end(bytes);
        read.map_err(|source| self.failed(source))
    }

    /// Appends a line with its end, or its first `most` bytes, to `bytes`.
    pub(super) fn read_line(
        &mut self,
        bytes: &mut Vec<u8>,
        most: u64,
    ) -> Result<usize, DatasetError> {
        let read = self.reader.by_ref().take(most).read_until(b'\n', bytes);
        read.map_err(|source| self.failed(source))
    }

    /// The following bytes, without consuming them; empty at the end.
    pub(super) fn peek(&mut self) -> Result<&[u8], DatasetError> {
        // A second call finds the same bytes in the buffer.
        if let Err(source) = self.reader.fill_buf() {
            return Err(self.failed(source));
        }
        let path = &self.path;
        self.reader.fill_buf().map_err(|source| DatasetError::Io {
            file: path.clone(),
            source,
        })
    }

    /// Consumes peeked bytes.
    pub(super) fn take(&mut self, count: usize) {
        self.reader.consume(count);
    }

    fn failed(&self, source: io::Error) -> DatasetError {
        DatasetError::Io {
            file: self.path.clone(),
            source,
        }
    }
}
