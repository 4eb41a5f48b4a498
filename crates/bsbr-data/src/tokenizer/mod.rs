//! Text to ids and back, in the byte-level BPE of GPT-2.

mod cache;
mod train;

pub use cache::CachedEncoder;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::BPE;

/// The token that separates documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What can go wrong with a tokenizer.
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
    #[error("cannot access {file}: check that it exists and that its permissions allow it")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not a tokenizer.
    #[error("{origin} is not a tokenizer that can be read ({reason}): download or train it again")]
    Malformed {
        /// The file, or "the given bytes".
        origin: String,
        /// What was wrong with it.
        reason: String,
    },
    /// Text cannot be turned into ids, or ids into text.
    #[error("cannot {action} with this tokenizer: {reason}")]
    Coding {
        /// "encode" or "decode".
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
    /// Training a tokenizer failed.
    #[error("cannot train a tokenizer: {reason}")]
    Training {
        /// What was wrong.
        reason: String,
    },
}

/// A tokenizer in the format of Hugging Face.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` of a folder, or else `vocab.json` and `merges.txt`.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let folder = folder.as_ref();
        let file = folder.join("tokenizer.json");
        if file.is_file() {
            return Self::parse(&read(&file)?, &file.display().to_string());
        }
        let vocab = folder.join("vocab.json");
        let merges = folder.join("merges.txt");
        if !vocab.is_file() || !merges.is_file() {
            return Err(TokenizerError::Missing {
                folder: folder.to_owned(),
            });
        }
        let malformed = |reason: String| TokenizerError::Malformed {
            origin: format!("{} with {}", vocab.display(), merges.display()),
            reason,
        };
        let model = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
            .build()
            .map_err(|error| malformed(error.to_string()))?;
        Ok(Self {
            inner: train::byte_level(model),
        })
    }

    /// Reads the content of a `tokenizer.json`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::parse(bytes, "the given bytes")
    }

    fn parse(bytes: &[u8], origin: &str) -> Result<Self, TokenizerError> {
        let inner = Tokenizer::from_bytes(bytes).map_err(|error| TokenizerError::Malformed {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { inner })
    }

    /// The ids of a text, without any added special token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding =
            self.inner
                .encode_fast(text, false)
                .map_err(|error| TokenizerError::Coding {
                    action: "encode",
                    reason: error.to_string(),
                })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens included.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner
            .decode(ids, false)
            .map_err(|error| TokenizerError::Coding {
                action: "decode",
                reason: error.to_string(),
            })
    }

    /// The number of ids, special tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token, if it has one.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of [`END_OF_TEXT`].
    pub fn end_of_text(&self) -> Result<u32, TokenizerError> {
        self.token_to_id(END_OF_TEXT)
            .ok_or_else(|| TokenizerError::NoToken {
                token: END_OF_TEXT.to_owned(),
            })
    }

    /// The content of a `tokenizer.json`.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner
            .to_string(true)
            .map_err(|error| TokenizerError::Coding {
                action: "write",
                reason: error.to_string(),
            })
    }

    /// Writes `tokenizer.json` to a folder, which is made if need be. The file
    /// is written beside and renamed, so a reader never sees a half of it.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let folder = folder.as_ref();
        let wrap = |file: &Path| {
            let file = file.to_owned();
            move |source| TokenizerError::Io { file, source }
        };
        fs::create_dir_all(folder).map_err(wrap(folder))?;
        let file = folder.join("tokenizer.json");
        let beside = folder.join("tokenizer.json.part");
        fs::write(&beside, self.to_json()?).map_err(wrap(&beside))?;
        fs::rename(&beside, &file).map_err(wrap(&file))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TokenizerError> {
    fs::read(file).map_err(|source| TokenizerError::Io {
        file: file.to_owned(),
        source,
    })
}

/// The byte-level settings of GPT-2.
fn gpt2_bytes() -> ByteLevel {
    ByteLevel::new(false, false, true)
}
