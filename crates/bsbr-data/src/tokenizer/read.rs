//! Reading a tokenizer: one `tokenizer.json`, or GPT-2's own two files.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::json;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;

use super::guard::guarded;
use super::train::byte_level;
use super::{TextTokenizer, TokenizerError};

const TOKENIZER: &str = "a tokenizer.json as `tokenizers` writes it";
const VOCABULARY: &str = "a JSON object of tokens and their ids";
const MERGES: &str = "lines of two tokens with a space between";
const TOGETHER: &str = "merges of tokens that the vocabulary has";

impl TextTokenizer {
    /// Reads `tokenizer.json` of a folder, or else `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] where there is none, or a file cannot be read or is damaged.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let folder = folder.as_ref();
        let [json, vocab, merges] =
            ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| folder.join(name));
        if let Some(bytes) = read(&json)? {
            return parse(&bytes, &name(&json));
        }
        let (Some(tokens), Some(pairs)) = (read(&vocab)?, read(&merges)?) else {
            return Err(TokenizerError::Missing {
                folder: folder.to_owned(),
            });
        };
        let tokens: BTreeMap<String, u32> = serde_json::from_slice(&tokens)
            .map_err(|error| malformed(&name(&vocab), VOCABULARY, error))?;
        let pairs =
            parse_merges(&pairs).map_err(|reason| malformed(&name(&merges), MERGES, reason))?;
        let bpe = json!({ "vocab": tokens, "merges": pairs });
        guarded(|| Ok(byte_level(serde_json::from_value::<BPE>(bpe)?)))
            .map_err(|reason| {
                let both = format!("{} with {}", vocab.display(), merges.display());
                malformed(&both, TOGETHER, reason)
            })
            .map(|inner| Self { inner })
    }

    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Malformed`] where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        parse(bytes, "the given bytes")
    }
}

fn parse(bytes: &[u8], origin: &str) -> Result<TextTokenizer, TokenizerError> {
    // What is no JSON at all, the parser names better than `tokenizers`, which says where in its
    // own types it stopped.
    serde_json::from_slice::<IgnoredAny>(bytes)
        .map_err(|error| malformed(origin, TOKENIZER, error))?;
    guarded(|| {
        let mut inner = Tokenizer::from_bytes(bytes)?;
        // A file may ask for texts to be cut or filled up. Like `transformers`, we leave that to
        // whoever makes batches.
        inner.with_padding(None).with_truncation(None)?;
        Ok(inner)
    })
    .map_err(|reason| malformed(origin, TOKENIZER, reason))
    .map(|inner| TextTokenizer { inner })
}

/// The pairs of a `merges.txt`, in order, or which line is none.
fn parse_merges(bytes: &[u8]) -> Result<Vec<(&str, &str)>, String> {
    let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("#version"))
        .map(|(at, line)| match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left, right)),
            _ => Err(format!("line {} is {line:?}", at + 1)),
        })
        .collect()
}

/// The content of a file, if it is there.
fn read(file: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Io {
            file: file.to_owned(),
            source,
        }),
    }
}

fn malformed(origin: &str, expected: &'static str, reason: impl ToString) -> TokenizerError {
    TokenizerError::Malformed {
        origin: origin.to_owned(),
        expected,
        reason: reason.to_string(),
    }
}

fn name(file: &Path) -> String {
    file.display().to_string()
}
