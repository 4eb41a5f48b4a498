//! The texts of a file, whatever its form.

use std::path::Path;

use super::error::DatasetError;
use super::lines::JsonLines;
use super::parquet::{TextRows, TextTable};

/// The field of JSON lines, and the column of parquet files, that holds the text.
pub const TEXT: &str = "text";

/// The texts of a file: of a `.jsonl` file the field [`TEXT`] of each line, of a `.parquet` file
/// the column [`TEXT`], row by row, and of any other the whole, as one text in UTF-8.
///
/// # Errors
///
/// [`DatasetError`] where the file cannot be read or has another form; each text may be an error
/// of its own, after which there are no more.
pub fn documents(path: &Path) -> Result<Documents, DatasetError> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let source = if ending == "jsonl" {
        Source::Lines(JsonLines::open(path, TEXT)?)
    } else if ending == "parquet" {
        Source::Rows(Box::new(TextTable::open(path, &[TEXT])?.into_rows()))
    } else {
        let text = std::fs::read_to_string(path).map_err(|source| DatasetError::Io {
            file: path.to_owned(),
            source,
        })?;
        Source::Whole(Some(text))
    };
    Ok(Documents { source })
}

/// The iterator of [`documents`].
#[derive(Debug)]
pub struct Documents {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Whole(Option<String>),
    Lines(JsonLines),
    Rows(Box<TextRows>),
    Ended,
}

impl Iterator for Documents {
    type Item = Result<String, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.source {
            Source::Whole(text) => text.take().map(Ok),
            Source::Lines(lines) => lines.next_text().transpose(),
            // There is one column, so a row has one text.
            Source::Rows(rows) => rows.next().map(|row| row.map(|texts| texts.concat())),
            Source::Ended => None,
        };
        if matches!(next, None | Some(Err(_))) {
            self.source = Source::Ended;
        }
        next
    }
}
