//! Text to token ids and back.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::BPE;

use crate::batch::TokenBatch;
use crate::error::InputError;
use crate::generate::{GenerationConfig, GenerationError};
use crate::model::Gpt2;

/// GPT-2's only special token.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer that cannot be read, or text that it cannot take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TextError {
    /// No tokenizer where one was expected.
    #[error(
        "{}: expected `tokenizer.json`, or `vocab.json` and `merges.txt`; \
         put the tokenizer's files beside the model's", folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that is there but cannot be read.
    #[error("{}: {message}; check its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// A file that is no tokenizer.
    #[error("{origin}: expected a tokenizer as `tokenizers` writes it: {message}")]
    Malformed {
        /// The file.
        origin: String,
        /// What the parser says.
        message: String,
    },
    /// Text that gives no ids, or ids that give no text.
    #[error("the tokenizer refuses the {what}: {message}")]
    Refused {
        /// The text or the ids.
        what: &'static str,
        /// What it says.
        message: String,
    },
    /// A prompt that the model cannot take, or a continuation that it cannot make.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}

impl From<InputError> for TextError {
    fn from(error: InputError) -> Self {
        Self::Generation(error.into())
    }
}

/// Text to token ids and back, by the tokenizer files of a checkpoint.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`TextError::Malformed`] where it is none.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        Self::read_json(json, "tokenizer.json")
    }

    fn read_json(json: &[u8], origin: &str) -> Result<Self, TextError> {
        let malformed = |message| TextError::Malformed {
            origin: origin.into(),
            message,
        };
        // What is no JSON is said better by the parser than by what follows.
        serde_json::from_slice::<IgnoredAny>(json).map_err(|e| malformed(e.to_string()))?;
        let inner = guarded(|| tokenizers::Tokenizer::from_bytes(json)).map_err(malformed)?;
        Self::whole(inner)
    }

    /// A file may ask for texts to be cut or filled up; like `transformers`, we do neither.
    fn whole(mut inner: tokenizers::Tokenizer) -> Result<Self, TextError> {
        inner.with_padding(None);
        match inner.with_truncation(None) {
            Ok(_) => Ok(Self { inner }),
            Err(error) => Err(TextError::Malformed {
                origin: "truncation".into(),
                message: error.to_string(),
            }),
        }
    }

    /// Reads the tokenizer of a checkpoint's folder: `tokenizer.json`, or else GPT-2's own
    /// `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    ///
    /// [`TextError`] where there is none or it cannot be read.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, TextError> {
        let folder = folder.as_ref();
        let [json, vocab, merges] =
            ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| folder.join(name));
        if json.is_file() {
            let content = std::fs::read(&json).map_err(|error| TextError::Read {
                path: json.clone(),
                message: error.to_string(),
            })?;
            return Self::read_json(&content, &json.display().to_string());
        }
        let inner = if vocab.is_file() && merges.is_file() {
            let name = |path: &Path| path.display().to_string();
            let bpe = guarded(|| BPE::from_file(&name(&vocab), &name(&merges)).build());
            let bpe = bpe.map_err(|message| TextError::Malformed {
                origin: name(&vocab),
                message,
            })?;
            let mut inner = tokenizers::Tokenizer::new(bpe);
            let bytes = ByteLevel::new(false, true, true);
            inner.with_pre_tokenizer(Some(bytes));
            inner.with_decoder(Some(bytes));
            if inner.token_to_id(END_OF_TEXT).is_some() {
                inner.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
            }
            inner
        } else {
            return Err(TextError::Missing {
                folder: folder.to_owned(),
            });
        };
        Self::whole(inner)
    }

    /// Tokens known, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token written out, such as `<|endoftext|>`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The ids of a text, without added special tokens.
    ///
    /// # Errors
    ///
    /// [`TextError::Refused`] where the tokenizer does not know what to do with the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        match guarded(|| self.inner.encode(text, false)) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(message) => Err(TextError::Refused {
                what: "text",
                message,
            }),
        }
    }

    /// The text of ids, special tokens written out.
    ///
    /// # Errors
    ///
    /// [`TextError::Refused`] where the ids give no text.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        guarded(|| self.inner.decode(ids, false)).map_err(|message| TextError::Refused {
            what: "ids",
            message,
        })
    }
}

impl Gpt2 {
    /// Continues each text, and gives what was added to each. See [`Self::generate`].
    ///
    /// # Errors
    ///
    /// [`TextError`] where the tokenizer, a setting or the model refuses; an empty text is refused,
    /// for there is nothing to continue.
    pub fn generate_text<S: AsRef<str>>(
        &self,
        tokenizer: &Tokenizer,
        prompts: &[S],
        config: &GenerationConfig,
    ) -> Result<Vec<String>, TextError> {
        let prompts = prompts
            .iter()
            .map(|text| tokenizer.encode(text.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        self.generate(&TokenBatch::padded(&prompts)?, config)?
            .iter()
            .map(|ids| tokenizer.decode(ids))
            .collect()
    }
}

/// What `call` gives, or why it gives nothing: `tokenizers` panics on some files that are not as
/// it writes them.
fn guarded<T>(call: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("`tokenizers` panicked; the tokenizer's file is damaged".into()),
    }
}
