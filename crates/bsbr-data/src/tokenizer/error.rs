//! What can go wrong with a tokenizer.

use std::io;
use std::path::PathBuf;

/// A tokenizer that cannot be read, made or written, or that cannot do what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A folder has no tokenizer.
    #[error(
        "no tokenizer in {folder}: put a tokenizer.json there, or a vocab.json and a merges.txt"
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(
        "cannot access {file}: {source}; check that it exists and that its permissions allow it"
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A file is not a tokenizer, or not the part of one that its name says.
    #[error("{origin}: expected {expected}: {reason}; download or train it again")]
    Malformed {
        /// The file, or "the given bytes".
        origin: String,
        /// What it should be.
        expected: &'static str,
        /// What was wrong with it.
        reason: String,
    },
    /// Text cannot be turned into ids, or ids into text.
    #[error(
        "cannot {action} with this tokenizer ({reason}): \
         download or train it again if its file was edited"
    )]
    Coding {
        /// "encode", "decode" or "write".
        action: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// The tokenizer lacks a token that is needed.
    #[error("the tokenizer has no {token} token: use one in the format of GPT-2")]
    NoToken {
        /// The token.
        token: String,
    },
    /// The tokenizer gives ids that the model has no embedding for.
    #[error(
        "the tokenizer's token {token:?} has the id {id}, but the model's embedding has {rows} rows: \
         use the tokenizer that the model was trained with"
    )]
    NoEmbedding {
        /// The token with the highest id.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A long text that has no place where it could be cut without another tokenization.
    #[error(
        "{bytes} bytes of text cannot be encoded in pieces with this tokenizer; \
         cut the text into documents, such as a JSON line each"
    )]
    NoCut {
        /// Bytes that were looked through.
        bytes: usize,
    },
    /// Training a tokenizer failed.
    #[error("cannot train a tokenizer: {reason}")]
    Training {
        /// What was wrong.
        reason: String,
    },
}
