//! Encoding and decoding of text, with byte-level BPE as in GPT-2.

mod cache;
mod detokenizer;
mod error;
mod pieces;
mod read;
mod side;
mod train;

pub use cache::CachedEncoder;
pub use detokenizer::Detokenizer;
pub use error::TokenizerError;
pub use pieces::PieceEncoder;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use bsbr_files::write_file;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::{Encoding, Token, Tokenizer};

/// The document separator of GPT-2, and of tokenizers trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// An id that no tokenizer has, in place of a text.
const TEXT: u32 = u32::MAX;

/// A tokenizer in the format of Hugging Face.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    /// Tokens whose id is not from a file: a model may have no rows for them.
    without_rows: BTreeSet<u32>,
    end_of_text: EndOfText,
}

/// The end-of-text token.
#[derive(Debug, Clone, Copy)]
enum EndOfText {
    /// Named by the files.
    Named(u32),
    /// GPT-2's, if the vocabulary has it, because the files name none.
    Assumed(Option<u32>),
}

impl From<Tokenizer> for TextTokenizer {
    fn from(inner: Tokenizer) -> Self {
        Self {
            end_of_text: EndOfText::Assumed(inner.token_to_id(END_OF_TEXT)),
            inner,
            without_rows: BTreeSet::new(),
        }
    }
}

impl fmt::Debug for TextTokenizer {
    // Thousands of tokens would hide the rest of the output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// The ids of a text, without special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the tokenizer cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = guarded(|| self.inner.encode_fast(text, false)).map_err(coding("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a prompt: those of the text, and the special tokens that the tokenizer adds to
    /// texts, such as one at the start. GPT-2's own adds none.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the tokenizer cannot encode the text.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = guarded(|| self.inner.encode_fast(text, true)).map_err(coding("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The special tokens of [`Self::encode_prompt`] before and after the ids of the text, for a
    /// prompt that [`PieceEncoder`] encodes.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the tokenizer does not place a text between special tokens.
    pub fn around_prompt(&self) -> Result<[Vec<u32>; 2], TokenizerError> {
        let text = Token::new(TEXT, "a".to_owned(), (0, 1));
        let text = Encoding::from_tokens(vec![text], 0);
        let all = guarded(|| self.inner.post_process(text, None, true));
        let all = all.map_err(coding("encode"))?;
        let parts: Vec<&[u32]> = all.get_ids().split(|id| *id == TEXT).collect();
        match parts.as_slice() {
            [before, after] => Ok([before.to_vec(), after.to_vec()]),
            _ => Err(coding("encode")(format!(
                "its post-processor places a text {} times",
                parts.len().saturating_sub(1)
            ))),
        }
    }

    /// The ids of a whole document: the end-of-text token, if the tokenizer has one, and the text.
    ///
    /// Models that read documents in sequence recognise the start of one by that token, and it is
    /// the default target of attention.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the tokenizer cannot encode the text.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text)?;
        if let Some(end_of_text) = self.end_of_text_id() {
            ids.insert(0, end_of_text);
        }
        Ok(ids)
    }

    /// The text of ids, including special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the ids cannot be decoded.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, false)).map_err(coding("decode"))
    }

    /// The number of embedding rows for all tokens: the highest id plus one, including special
    /// tokens. There may be fewer tokens.
    pub fn vocab_size(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |highest| highest as usize + 1)
    }

    /// Checks that a model has an embedding for every token, before it reads a text.
    ///
    /// More embeddings than tokens are allowed; their number is often rounded up.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoEmbedding`] if a token's id is not below `rows`, the rows of the
    /// embedding: the `vocab_size` of its configuration.
    pub fn fits(&self, rows: usize) -> Result<(), TokenizerError> {
        let tokens = self.inner.get_vocab(true).into_iter();
        let tokens = tokens.filter(|(_, id)| !self.without_rows.contains(id));
        match tokens.max_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0))) {
            Some((token, id)) if id as usize >= rows => {
                Err(TokenizerError::NoEmbedding { token, id, rows })
            }
            _ => Ok(()),
        }
    }

    /// The id of a token, if it has one.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of the end-of-text token, if any: the `eos_token` of the folder's files, else the id
    /// passed to [`Self::or_end_of_text`], else [`END_OF_TEXT`].
    pub fn end_of_text_id(&self) -> Option<u32> {
        match self.end_of_text {
            EndOfText::Named(id) => Some(id),
            EndOfText::Assumed(id) => id,
        }
    }

    /// The same, if it is required.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoToken`] if there is none.
    pub fn end_of_text(&self) -> Result<u32, TokenizerError> {
        self.end_of_text_id()
            .ok_or_else(|| TokenizerError::NoToken {
                token: END_OF_TEXT.to_owned(),
            })
    }

    /// The tokenizer with the model's end-of-text token, if its own files name none. An id without
    /// a token is ignored.
    #[must_use]
    pub fn or_end_of_text(mut self, id: Option<u32>) -> Self {
        let id = id.filter(|id| self.inner.id_to_token(*id).is_some());
        if let (EndOfText::Assumed(_), Some(_)) = (self.end_of_text, id) {
            self.end_of_text = EndOfText::Assumed(id);
        }
        self
    }

    /// The content of a `tokenizer.json`.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        guarded(|| self.inner.to_string(true)).map_err(coding("write"))
    }

    /// Writes `tokenizer.json` to a folder, which is created if needed. The write is atomic, so a
    /// reader never sees an incomplete file.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let file = folder.as_ref().join("tokenizer.json");
        Ok(write_file(&file, self.to_json()?.as_bytes())?)
    }
}

/// The result of `call`, or why it has none. `tokenizers` panics on some invalid files, when it reads
/// or uses them.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    crate::guard::guarded("tokenizers", call)
}

fn coding(action: &'static str) -> impl Fn(String) -> TokenizerError {
    move |reason| TokenizerError::Coding { action, reason }
}

/// The byte-level settings of GPT-2.
fn gpt2_bytes() -> ByteLevel {
    ByteLevel::new(false, false, true)
}
