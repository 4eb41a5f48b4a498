//! Texts that others wrote, from files of this machine.
//!
//! | files | read by |
//! |---|---|
//! | plain text, JSON lines, parquet with a column `text` | [`documents`] |
//! | WikiText, as the Hub has it | [`wikitext::Articles`] |
//! | CNN/DailyMail, as the Hub has it | [`cnn_dailymail::Articles`] |
//! | columns of text in any parquet file | [`TextTable`] |
//!
//! All but plain text are read row by row: memory holds one page of a file at a time.

pub mod cnn_dailymail;
pub mod wikitext;

mod document;
mod error;
mod lines;
mod parquet;

pub use document::{Documents, TEXT, documents};
pub use error::DatasetError;
pub use parquet::{TextRows, TextTable};
