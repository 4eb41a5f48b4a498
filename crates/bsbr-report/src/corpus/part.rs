//! A part of a list of tokens, which may be on disk.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bsbr_data::tokens::Tokens;

/// Tokens read at a time.
const BLOCK: usize = 1 << 14;

/// Consecutive tokens of a list.
#[derive(Debug, Clone)]
pub(super) struct TokenSpan {
    all: Arc<Tokens>,
    range: Range<usize>,
}

impl From<Vec<u32>> for TokenSpan {
    fn from(ids: Vec<u32>) -> Self {
        Self {
            range: 0..ids.len(),
            all: Arc::new(ids.into()),
        }
    }
}

impl TokenSpan {
    /// The tokens of a list before a range, and those in it.
    pub fn divide(all: Tokens, range: Range<usize>) -> [Self; 2] {
        let all = Arc::new(all);
        [0..range.start, range].map(|range| Self {
            all: all.clone(),
            range,
        })
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// A range of tokens, limited to the part.
    pub fn read(&self, range: Range<usize>) -> io::Result<Vec<u32>> {
        let place = |at: usize| self.range.start.saturating_add(at).min(self.range.end);
        self.all.read(place(range.start)..place(range.end))
    }

    /// A range of tokens in blocks, limited to the part.
    pub fn blocks(&self, range: Range<usize>) -> impl Iterator<Item = io::Result<Vec<u32>>> {
        let end = range.end.min(self.len());
        let starts = (range.start..end).step_by(BLOCK);
        starts.map(move |start| self.read(start..(start + BLOCK).min(end)))
    }
}
