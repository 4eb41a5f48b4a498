//! What can go wrong with a file of texts.

use std::io;
use std::path::PathBuf;

/// A file of texts that cannot be read, or that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file that cannot be read.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file whose name does not say what is in it.
    #[error("{file}: what is in it is not known by its ending; files are read that end in {known}")]
    Ending {
        /// The file.
        file: PathBuf,
        /// The endings that are known.
        known: String,
    },
    /// A file whose form is not understood: cut, damaged, or of another kind.
    #[error("{file}: expected {expected}, found {found}; fetch or make it again")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// A column that is missing or holds something else.
    #[error("{file}: column `{column}`: expected {expected}, found {found}")]
    Column {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A row, or a part of the file, that cannot be read.
    #[error(
        "{file}: column `{column}`, {place}: expected {expected}, found {found}; \
         fetch or make it again"
    )]
    Content {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// Where in it: `row 17`, `row group 3`.
        place: String,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A line of a file of JSON lines.
    #[error("{file}, line {line}: expected {expected}, found {found}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}
