//! Texts from local dataset files.
//!
//! | files | read by |
//! |---|---|
//! | plain text, JSON lines, Parquet with a column `text` | [`pieces`] |
//! | WikiText, as on the Hub | [`wikitext::Articles`] |
//! | CNN/DailyMail, as on the Hub | [`cnn_dailymail::Articles`] |
//! | text columns of any Parquet file | [`TextTable`] |
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
mod zstd;

pub use document::{Piece, Pieces, TEXT, pieces};
pub use error::DatasetError;
pub use parquet::{TextRows, TextTable};
