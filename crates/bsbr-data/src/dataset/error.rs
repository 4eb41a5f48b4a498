//! Errors of dataset files.

use std::io;
use std::path::PathBuf;

/// A dataset file that cannot be read, or is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file that cannot be read.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file with an unknown extension.
    #[error("{file}: unknown type of file; expected a name that ends in {known}")]
    Ending {
        /// The file.
        file: PathBuf,
        /// The known extensions.
        known: String,
    },
    /// A file that is truncated, damaged, or of another format.
    #[error("{file}: expected {expected}, found {found}; download or create it again")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The expected format.
        expected: &'static str,
        /// The error.
        found: String,
    },
    /// A column that is missing or of another type.
    #[error("{file}: column `{column}`: expected {expected}, found {found}")]
    Column {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// The expected type.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// A row, or a part of the file, that cannot be read.
    #[error(
        "{file}: column `{column}`, {place}: expected {expected}, found {found}; download or \
         create it again"
    )]
    Content {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// The position: `row 17`, `row group 3`.
        place: String,
        /// The expected content.
        expected: &'static str,
        /// The content found.
        found: String,
    },
    /// An invalid line of JSON lines.
    #[error("{file}, line {line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The expected content.
        expected: String,
        /// The content found.
        found: String,
    },
}
