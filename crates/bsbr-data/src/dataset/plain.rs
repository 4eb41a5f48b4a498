//! A file with one text, piece by piece.

use std::borrow::Cow;

use super::document::Piece;
use super::error::DatasetError;
use super::input::Input;

/// The approximate size of a piece, in bytes.
const PIECE: usize = 1 << 16;

/// The pieces of a plain text. Line ends become `\n`; the file may have `\r\n` or `\r`.
#[derive(Debug)]
pub(super) struct PlainText {
    input: Input,
    /// Bytes whose meaning depends on the next ones.
    rest: Vec<u8>,
    /// The number of bytes read before `rest`.
    before: u64,
    ended: bool,
}

impl PlainText {
    pub(super) fn new(input: Input) -> Self {
        Self {
            input,
            rest: Vec::new(),
            before: 0,
            ended: false,
        }
    }

    /// The next piece; `None` after the last.
    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, DatasetError> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.rest);
        self.ended = self.input.read(&mut bytes, PIECE)? < PIECE;
        let mut end = match str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            // A character that continues in the next piece.
            Err(error) if error.error_len().is_none() && !self.ended => error.valid_up_to(),
            Err(error) => {
                let place = self.before + error.valid_up_to() as u64;
                return Err(DatasetError::Malformed {
                    file: self.input.path().to_owned(),
                    expected: "text in UTF-8",
                    found: format!("something else at byte {place}"),
                });
            }
        };
        // Its `\n` may follow.
        if !self.ended && bytes[..end].ends_with(b"\r") {
            end -= 1;
        }
        self.rest = bytes.split_off(end);
        self.before += end as u64;
        let text = String::from_utf8_lossy(&bytes);
        Ok(Some(Piece {
            text: with_plain_ends(text),
            last: self.ended,
        }))
    }
}

fn with_plain_ends(text: Cow<'_, str>) -> String {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n"),
        false => text.into_owned(),
    }
}
