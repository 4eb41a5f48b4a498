//! The texts of a file, in any supported format.

use std::path::Path;

use super::error::DatasetError;
use super::input::Input;
use super::json::JsonTexts;
use super::kind::{self, Form};
use super::parquet::{TextRows, TextTable};
use super::plain::PlainText;

/// The field of JSON objects, and the column of Parquet files, with the text.
pub const TEXT: &str = "text";

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The content; it may be empty.
    pub text: String,
    /// Whether it ends the text.
    pub last: bool,
}

impl Piece {
    /// A text in one piece.
    pub fn whole(text: String) -> Self {
        Self { text, last: true }
    }
}

/// The texts of a file in pieces; its extension determines the format.
///
/// | extensions | texts |
/// |---|---|
/// | `.txt`, `.text`, `.md`, `.raw`, `.tokens` | the whole file, as one text in UTF-8, with `\n` at line ends |
/// | `.jsonl`, `.ndjson`, `.jsonlines`, `.ldjson` | the field [`TEXT`] of the object of each line |
/// | `.json` | the same, or of each object of a list |
/// | `.parquet` | the column [`TEXT`], row by row |
///
/// All but Parquet may be compressed, with `.gz` or `.zst` appended. A byte-order mark is skipped,
/// and so are rows with a null text. NaN and Infinity count as null, as in pandas.
///
/// Memory does not grow with the texts: it holds 64 KiB of a plain text, one JSON object of at most
/// 64 MiB, or one page of a Parquet file, and up to 128 MiB to decompress zstd.
///
/// # Errors
///
/// [`DatasetError`] if the extension is unknown, or the file cannot be read or has another format.
/// Each piece may also be an error, which ends the iteration.
pub fn pieces(path: &Path) -> Result<Pieces, DatasetError> {
    let (form, packing) = kind::of(path)?;
    let source = match form {
        Form::Parquet => Source::Rows(Box::new(TextTable::open(path, &[TEXT])?.into_rows())),
        Form::Plain => Source::Plain(PlainText::new(Input::open(path, packing)?)),
        Form::Json | Form::JsonLines => {
            let may_be_list = form == Form::Json;
            let input = Input::open(path, packing)?;
            Source::Json(JsonTexts::new(input, TEXT, may_be_list))
        }
    };
    Ok(Pieces {
        source,
        without_text: 0,
    })
}

/// The iterator of [`pieces`].
#[derive(Debug)]
pub struct Pieces {
    source: Source,
    without_text: u64,
}

#[derive(Debug)]
enum Source {
    Plain(PlainText),
    Json(JsonTexts),
    Rows(Box<TextRows>),
    Ended,
}

impl Pieces {
    /// The number of skipped rows with a null text so far.
    pub fn without_text(&self) -> u64 {
        self.without_text
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.source {
            Source::Plain(text) => text.next_piece(),
            Source::Json(texts) => {
                let text = texts.next_text();
                self.without_text = texts.without_text();
                text.map(|text| text.map(Piece::whole))
            }
            Source::Rows(rows) => loop {
                match rows.next_values() {
                    Ok(None) => break Ok(None),
                    Err(error) => break Err(error),
                    // There is one column, so a row is one text.
                    Ok(Some(row)) => match row.into_iter().next().flatten() {
                        Some(text) => break Ok(Some(Piece::whole(text))),
                        None => self.without_text += 1,
                    },
                }
            },
            Source::Ended => Ok(None),
        };
        if matches!(next, Ok(None) | Err(_)) {
            self.source = Source::Ended;
        }
        next.transpose()
    }
}
