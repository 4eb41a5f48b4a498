//! Reading of a tokenizer: one `tokenizer.json`, or GPT-2's own two files, and related files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;

use super::side::SideFiles;
use super::train::byte_level;
use super::{END_OF_TEXT, EndOfText, TextTokenizer, TokenizerError, guarded};

const TOKENIZER: &str = "a tokenizer.json as `tokenizers` writes it";
const VOCABULARY: &str = "a JSON object of tokens and their ids";
const MERGES: &str = "lines of two tokens separated by a space";
const TOGETHER: &str = "merges of tokens in the vocabulary";

/// The size limit of a file; the largest vocabularies have some 30 MB.
const MAX_FILE: u64 = 256 << 20;

impl TextTokenizer {
    /// Reads the tokenizer of a folder: `tokenizer.json`, or else `vocab.json` and `merges.txt`.
    /// Added tokens, a space before the first word and the tokens around a prompt come from
    /// `tokenizer_config.json`, `added_tokens.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] if there is none, or a file cannot be read or is damaged.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let folder = folder.as_ref();
        let side = SideFiles::read(folder)?;
        let json = folder.join("tokenizer.json");
        let (inner, whole) = match read(&json)? {
            Some(bytes) => (whole(bytes, &side, &name(&json))?, true),
            None => (parts(folder, &side)?, false),
        };
        let mut inner = inner;
        let without_rows = guarded(|| side.apply(&mut inner, whole))
            .map_err(|reason| malformed(&name(folder), TOGETHER, reason))?;
        let named = side
            .end_of_text()
            .and_then(|token| inner.token_to_id(token));
        let end_of_text = match named {
            Some(id) => EndOfText::Named(id),
            None => EndOfText::Assumed(inner.token_to_id(END_OF_TEXT)),
        };
        Ok(Self {
            inner,
            without_rows,
            end_of_text,
        })
    }

    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Malformed`] if it is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        parse(bytes, "the given bytes").map(Self::from)
    }
}

/// A tokenizer from a `tokenizer.json` and the tokens that other files add to its vocabulary.
fn whole(bytes: Vec<u8>, side: &SideFiles, origin: &str) -> Result<Tokenizer, TokenizerError> {
    if side.is_empty() {
        return parse(&bytes, origin);
    }
    let mut json: Value =
        serde_json::from_slice(&bytes).map_err(|error| malformed(origin, TOKENIZER, error))?;
    let mut known = BTreeMap::new();
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        if let (Some(token), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) {
            known.extend(u32::try_from(id).map(|id| (token.to_owned(), id)));
        }
    }
    // Other kinds of models have lists, which cannot be extended at a given id.
    let Some(vocab) = json["model"]["vocab"].as_object_mut() else {
        return parse(&bytes, origin);
    };
    for (token, id) in vocab.iter() {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        known.extend(id.map(|id| (token.clone(), id)));
    }
    let mut changed = false;
    for (token, id) in side.missing(&known) {
        vocab.insert(token.to_owned(), id.into());
        changed = true;
    }
    match changed {
        true => parse(json.to_string().as_bytes(), origin),
        false => parse(&bytes, origin),
    }
}

/// A tokenizer from GPT-2's own two files.
fn parts(folder: &Path, side: &SideFiles) -> Result<Tokenizer, TokenizerError> {
    let [vocab, merges] = ["vocab.json", "merges.txt"].map(|name| folder.join(name));
    let (Some(tokens), Some(pairs)) = (read(&vocab)?, read(&merges)?) else {
        return Err(TokenizerError::Missing {
            folder: folder.to_owned(),
        });
    };
    let mut tokens: BTreeMap<String, u32> = serde_json::from_slice(&tokens)
        .map_err(|error| malformed(&name(&vocab), VOCABULARY, error))?;
    let missing: Vec<(String, u32)> = side
        .missing(&tokens)
        .map(|(token, id)| (token.to_owned(), id))
        .collect();
    tokens.extend(missing);
    let pairs = parse_merges(&pairs).map_err(|reason| malformed(&name(&merges), MERGES, reason))?;
    let bpe = json!({ "vocab": tokens, "merges": pairs });
    guarded(|| Ok(byte_level(serde_json::from_value::<BPE>(bpe)?))).map_err(|reason| {
        let both = format!("{} with {}", vocab.display(), merges.display());
        malformed(&both, TOGETHER, reason)
    })
}

fn parse(bytes: &[u8], origin: &str) -> Result<Tokenizer, TokenizerError> {
    // The parser reports invalid JSON more clearly than `tokenizers`.
    serde_json::from_slice::<IgnoredAny>(bytes)
        .map_err(|error| malformed(origin, TOKENIZER, error))?;
    guarded(|| {
        let mut inner = Tokenizer::from_bytes(bytes)?;
        // A file may request truncation or padding of texts. Like `transformers`, this leaves
        // both to the code that makes batches.
        inner.with_padding(None).with_truncation(None)?;
        Ok(inner)
    })
    .map_err(|reason| malformed(origin, TOKENIZER, reason))
}

/// The pairs of a `merges.txt`, in order, or the invalid line.
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

/// The content of a file, if it exists.
pub(super) fn read(file: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    let io = |source| TokenizerError::Io {
        file: file.to_owned(),
        source,
    };
    let mut opened = match File::open(file) {
        Ok(opened) => opened.take(MAX_FILE + 1),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io(ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(bytes))
}

pub(super) fn malformed(
    origin: &str,
    expected: &'static str,
    reason: impl ToString,
) -> TokenizerError {
    TokenizerError::Malformed {
        origin: origin.to_owned(),
        expected,
        reason: reason.to_string(),
    }
}

pub(super) fn name(file: &Path) -> String {
    file.display().to_string()
}
