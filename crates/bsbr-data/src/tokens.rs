//! Long lists of tokens, in memory or on disk.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The maximum number of ids in memory; longer lists are on disk.
const IN_MEMORY: usize = 1 << 23;
/// Bytes of an id.
const ID: usize = size_of::<u32>();

/// A list of tokens that grows.
#[derive(Debug)]
pub struct TokenWriter {
    folder: PathBuf,
    most: usize,
    ids: Vec<u32>,
    file: Option<BufWriter<File>>,
    written: usize,
}

impl TokenWriter {
    /// An empty list. If it becomes long, it moves to an unnamed file in `folder`, which
    /// disappears with the process.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::with_memory(folder, IN_MEMORY)
    }

    /// The same, with at most `most` ids in memory.
    pub fn with_memory(folder: impl Into<PathBuf>, most: usize) -> Self {
        Self {
            folder: folder.into(),
            most,
            ids: Vec::new(),
            file: None,
            written: 0,
        }
    }

    /// The current number of tokens.
    pub fn len(&self) -> usize {
        self.written + self.ids.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer for the next ids: call [`Self::settle`] after every few thousand.
    pub fn ids(&mut self) -> &mut Vec<u32> {
        &mut self.ids
    }

    /// Moves the buffer to disk if it is too long for memory.
    ///
    /// # Errors
    ///
    /// Errors of the folder or its disk.
    pub fn settle(&mut self) -> io::Result<()> {
        match self.ids.len() > self.most {
            true => self.spill(),
            false => Ok(()),
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = tempfile::tempfile_in(&self.folder)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        for id in &self.ids {
            file.write_all(&id.to_le_bytes())?;
        }
        self.written += self.ids.len();
        self.ids.clear();
        Ok(())
    }

    /// The list.
    ///
    /// # Errors
    ///
    /// Same as [`Self::settle`].
    pub fn finish(mut self) -> io::Result<Tokens> {
        if self.file.is_some() {
            self.spill()?;
        }
        Ok(match self.file {
            None => Tokens {
                len: self.ids.len(),
                source: Source::Memory(self.ids),
            },
            Some(file) => Tokens {
                len: self.written,
                source: Source::Disk(Mutex::new(file.into_inner().map_err(io::Error::from)?)),
            },
        })
    }
}

/// A list of tokens.
#[derive(Debug)]
pub struct Tokens {
    len: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Vec<u32>),
    /// Four bytes per id, little-endian.
    Disk(Mutex<File>),
}

impl From<Vec<u32>> for Tokens {
    fn from(ids: Vec<u32>) -> Self {
        Self {
            len: ids.len(),
            source: Source::Memory(ids),
        }
    }
}

impl Tokens {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A range of tokens, limited to the length of the list.
    ///
    /// # Errors
    ///
    /// Errors of reading them from disk.
    pub fn read(&self, range: Range<usize>) -> io::Result<Vec<u32>> {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        let file = match &self.source {
            Source::Memory(ids) => return Ok(ids[start..end].to_vec()),
            Source::Disk(file) => file,
        };
        let mut bytes = vec![0; (end - start) * ID];
        // A failed read leaves no partial state.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start((start * ID) as u64))?;
        file.read_exact(&mut bytes)?;
        let (ids, _) = bytes.as_chunks::<ID>();
        Ok(ids.iter().map(|id| u32::from_le_bytes(*id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_on_disk_are_those_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<u32> = (0..1000).map(|id| id * 70_001).collect();
        for most in [0, 7, 999, 1000, 5000] {
            let mut writer = TokenWriter::with_memory(folder.path(), most);
            for part in all.chunks(13) {
                writer.ids().extend(part);
                writer.settle().unwrap();
            }
            assert_eq!(writer.len(), 1000);
            let tokens = writer.finish().unwrap();
            assert_eq!(matches!(tokens.source, Source::Disk(_)), most < 1000);
            assert_eq!(tokens.len(), 1000);
            assert_eq!(tokens.read(0..1000).unwrap(), all, "{most}");
            assert_eq!(tokens.read(17..40).unwrap(), all[17..40]);
            assert_eq!(tokens.read(990..2000).unwrap(), all[990..]);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
