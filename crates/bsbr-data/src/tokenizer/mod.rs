//! Text to ids and back, in the byte-level BPE of GPT-2.

mod cache;
mod detokenizer;
mod error;
mod guard;
mod read;
mod side;
mod train;

pub use cache::CachedEncoder;
pub use detokenizer::Detokenizer;
pub use error::TokenizerError;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use tokenizers::Tokenizer;
use tokenizers::decoders::byte_level::ByteLevel;

use guard::guarded;

/// The token that separates documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer in the format of Hugging Face.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    /// Tokens that got an id here and in no file: a model may have no rows for them.
    without_rows: BTreeSet<u32>,
}

impl From<Tokenizer> for TextTokenizer {
    fn from(inner: Tokenizer) -> Self {
        Self {
            inner,
            without_rows: BTreeSet::new(),
        }
    }
}

impl fmt::Debug for TextTokenizer {
    // Thousands of tokens would bury what stands around them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// The ids of a text, without any added special token.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] where the tokenizer does not know what to do with the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = guarded(|| self.inner.encode_fast(text, false)).map_err(coding("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a prompt: those of the text, and the special tokens that the tokenizer puts
    /// around texts, such as one that begins them. GPT-2's own puts none there.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] where the tokenizer does not know what to do with the text.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = guarded(|| self.inner.encode_fast(text, true)).map_err(coding("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a whole document: [`END_OF_TEXT`], where the tokenizer has one, and its text.
    ///
    /// Models that read documents one after another know the beginning of one by that token, and
    /// attention that finds nothing rests on it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] where the tokenizer does not know what to do with the text.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text)?;
        if let Some(end_of_text) = self.token_to_id(END_OF_TEXT) {
            ids.insert(0, end_of_text);
        }
        Ok(ids)
    }

    /// The text of ids, special tokens included.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] where the ids give no text.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, false)).map_err(coding("decode"))
    }

    /// The number of ids, special tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Checks that a model has an embedding for every token, before a text is given to it.
    ///
    /// More embeddings than tokens are fine: they are often rounded up.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::TooManyTokens`] where there are more tokens than `rows`, the rows of the
    /// embedding: the `vocab_size` of its configuration.
    pub fn fits(&self, rows: usize) -> Result<(), TokenizerError> {
        match self.vocab_size() - self.without_rows.len() {
            tokens if tokens > rows => Err(TokenizerError::TooManyTokens { tokens, rows }),
            _ => Ok(()),
        }
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
        guarded(|| self.inner.to_string(true)).map_err(coding("write"))
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

fn coding(action: &'static str) -> impl Fn(String) -> TokenizerError {
    move |reason| TokenizerError::Coding { action, reason }
}

/// The byte-level settings of GPT-2.
fn gpt2_bytes() -> ByteLevel {
    ByteLevel::new(false, false, true)
}
