//! Errors of tokenizers.

use std::io;
use std::path::PathBuf;

/// A tokenizer that cannot be read, made or written, or a request that it does not support.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A folder without a tokenizer.
    #[error(
        "no tokenizer in {folder}: put a tokenizer.json there, or a vocab.json and a merges.txt"
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that cannot be accessed.
    #[error(
        "cannot access {file}: {source}; check that it exists and that its permissions allow it"
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error(transparent)]
    Output(#[from] bsbr_files::FileError),
    /// A file that is not a tokenizer, or not the part of one that its name means.
    #[error("{origin}: expected {expected}: {reason}; download or train it again")]
    Malformed {
        /// The file, or "the given bytes".
        origin: String,
        /// The expected content.
        expected: &'static str,
        /// The error.
        reason: String,
    },
    /// Text that cannot be encoded, or ids that cannot be decoded.
    #[error(
        "cannot {action} with this tokenizer ({reason}): \
         download or train it again if its file was edited"
    )]
    Coding {
        /// "encode", "decode" or "write".
        action: &'static str,
        /// The error.
        reason: String,
    },
    /// A required token that the tokenizer lacks.
    #[error("the tokenizer has no {token} token: use one in the format of GPT-2")]
    NoToken {
        /// The token.
        token: String,
    },
    /// Ids of the tokenizer that have no embedding in the model.
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
    /// A long text that cannot be divided without changing its ids.
    #[error(
        "{bytes} bytes of text cannot be encoded in pieces with this tokenizer; split the text \
         into documents, such as one per JSON line"
    )]
    NoCut {
        /// The number of bytes searched.
        bytes: usize,
    },
    /// A failed training of a tokenizer.
    #[error("cannot train a tokenizer: {reason}")]
    Training {
        /// The error.
        reason: String,
    },
}
