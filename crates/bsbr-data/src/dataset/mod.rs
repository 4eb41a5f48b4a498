//! Texts that others wrote, from files of this machine.
//!
//! | files | read by |
//! |---|---|
//! | plain text, JSON lines, parquet with a column `text` | [`documents`], [`pieces`] |
//! | WikiText, as the Hub has it | [`wikitext::Articles`] |
//! | CNN/DailyMail, as the Hub has it | [`cnn_dailymail::Articles`] |
//! | columns of text in any parquet file | [`TextTable`] |
//!
//! Files are read row by row, and plain text piece by piece: memory does not grow with them.

pub mod cnn_dailymail;
pub mod wikitext;

mod document;
mod error;
mod input;
mod json;
mod kind;
mod parquet;
mod plain;

pub use document::{Documents, Piece, Pieces, TEXT, documents, pieces};
pub use error::DatasetError;
pub use parquet::{TextRows, TextTable};
