//! A batch of token ids on the host.

use std::ops::Range;

use bsbr_attention::Padding;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::InputError;

/// Rows of token ids of equal length; shorter rows are padded on the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    rows: usize,
    seq_len: usize,
    padding: Padding,
}

impl TokenBatch {
    /// A batch of one row.
    ///
    /// # Errors
    ///
    /// [`InputError::Empty`] if there are no tokens.
    pub fn single(ids: &[u32]) -> Result<Self, InputError> {
        Self::rows(&[ids])
    }

    /// A batch of rows of one length.
    ///
    /// # Errors
    ///
    /// [`InputError`] if there are no tokens or the lengths differ.
    pub fn rows<R: AsRef<[u32]>>(rows: &[R]) -> Result<Self, InputError> {
        let expected = rows.first().map_or(0, |row| row.as_ref().len());
        if let Some((row, ids)) = rows
            .iter()
            .enumerate()
            .find(|(_, ids)| ids.as_ref().len() != expected)
        {
            return Err(InputError::Ragged {
                row,
                found: ids.as_ref().len(),
                expected,
            });
        }
        Self::padded(rows)
    }

    /// A batch of rows of any length, padded on the left to the longest.
    ///
    /// # Errors
    ///
    /// [`InputError::Empty`] if there are no rows, or a row has no tokens.
    pub fn padded<R: AsRef<[u32]>>(rows: &[R]) -> Result<Self, InputError> {
        let seq_len = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
        if seq_len == 0 || rows.iter().any(|row| row.as_ref().is_empty()) {
            return Err(InputError::Empty);
        }
        let mut ids = Vec::with_capacity(rows.len() * seq_len);
        let mut left = Vec::with_capacity(rows.len());
        for row in rows {
            let row = row.as_ref();
            left.push(seq_len - row.len());
            ids.resize(ids.len() + seq_len - row.len(), 0);
            ids.extend_from_slice(row);
        }
        Ok(Self {
            ids,
            rows: rows.len(),
            seq_len,
            padding: Padding::left(left),
        })
    }

    /// B, rows.
    pub fn batch_size(&self) -> usize {
        self.rows
    }

    /// N, tokens of a row, padding included.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Left padding of the rows.
    pub fn padding(&self) -> &Padding {
        &self.padding
    }

    /// Ids of row `row`, padding included.
    pub fn row(&self, row: usize) -> &[u32] {
        self.ids
            .get(row * self.seq_len..(row + 1) * self.seq_len)
            .unwrap_or_default()
    }

    /// The batch divided into pieces of at most `size` tokens per row, to be fed to a cache one
    /// after another. All padding is in the first piece, which is longer by its amount.
    pub fn pieces(&self, size: usize) -> impl Iterator<Item = Self> + '_ {
        let padded = (0..self.rows).map(|row| self.padding.of_row(row)).max();
        let mut start = 0;
        let mut end = padded.unwrap_or(0).saturating_add(size.max(1));
        std::iter::from_fn(move || {
            if start >= self.seq_len {
                return None;
            }
            let columns = start..end.min(self.seq_len);
            start = columns.end;
            end = start.saturating_add(size.max(1));
            Some(self.columns(columns))
        })
    }

    /// The batch without the first `start` tokens of each row; `None` if nothing remains.
    pub(crate) fn without_columns(&self, start: usize) -> Option<Self> {
        (start < self.seq_len).then(|| self.columns(start..self.seq_len))
    }

    /// A range of tokens of each row; only its first tokens may be padding.
    fn columns(&self, columns: Range<usize>) -> Self {
        let ids = (0..self.rows).flat_map(|row| &self.row(row)[columns.clone()]);
        Self {
            ids: ids.copied().collect(),
            rows: self.rows,
            seq_len: columns.len(),
            padding: match columns.start {
                0 => self.padding.clone(),
                _ => Padding::none(),
            },
        }
    }

    /// Checks every id against the vocabulary.
    ///
    /// # Errors
    ///
    /// [`InputError::TokenOutOfRange`] names the first id without an embedding.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<(), InputError> {
        match self.ids.iter().position(|&id| id as usize >= vocab_size) {
            None => Ok(()),
            Some(at) => Err(InputError::TokenOutOfRange {
                row: at / self.seq_len,
                position: at % self.seq_len,
                id: self.ids.get(at).copied().unwrap_or_default(),
                vocab_size,
            }),
        }
    }

    /// Length of the longest row without padding.
    pub fn longest(&self) -> usize {
        (0..self.rows)
            .map(|row| self.seq_len - self.padding.of_row(row))
            .max()
            .unwrap_or(0)
    }

    /// The ids on `device`. `[B, N]`
    pub fn to_tensor(&self, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i32> = self.ids.iter().map(|&id| id as i32).collect();
        Tensor::from_data(TensorData::new(ids, [self.rows, self.seq_len]), device)
    }
}
