//! Fast encoding of long text with few word types.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tokenizers::{ModelWrapper, PreTokenizerWrapper, Tokenizer};

use super::{TextTokenizer, TokenizerError, coding, guarded};

type Pieces = HashMap<Box<str>, Box<[u32]>>;

/// Encodes by pieces (a word with its preceding space), and calls the tokenizer only once for each
/// distinct piece.
///
/// The ids equal those of [`TextTokenizer::encode`]. The tokenizer encodes the whole text if it is
/// not ASCII, contains an added token such as `<|endoftext|>`, or if the tokenizer does not split
/// like GPT-2's.
#[derive(Debug)]
pub struct CachedEncoder {
    tokenizer: TextTokenizer,
    /// Whether the tokenizer splits text like GPT-2's.
    splits_as_gpt2: bool,
    /// The added tokens, which are matched before a text is split.
    added: Vec<String>,
    pieces: RwLock<Pieces>,
}

impl CachedEncoder {
    /// An encoder with an empty cache.
    pub fn new(tokenizer: TextTokenizer) -> Self {
        let added = tokenizer.inner.get_added_tokens_decoder().into_values();
        Self {
            added: added.map(|token| token.content).collect(),
            splits_as_gpt2: splits_as_gpt2(&tokenizer.inner),
            tokenizer,
            pieces: RwLock::default(),
        }
    }

    /// The tokenizer inside.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Appends the ids of `text` to `ids`, and for each id the end of its text in bytes to `ends`.
    pub fn encode_into(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        ends: &mut Vec<usize>,
    ) -> Result<(), TokenizerError> {
        let in_pieces = self.splits_as_gpt2
            && text.is_ascii()
            && !self.added.iter().any(|token| text.contains(token));
        if !in_pieces {
            return self.encode_whole(text, ids, ends);
        }
        let mut from = 0;
        while from < text.len() {
            // As many pieces as are cached, under one lock.
            {
                let known = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
                while from < text.len() {
                    let end = from + piece_len(&text.as_bytes()[from..]);
                    let Some(piece) = known.get(&text[from..end]) else {
                        break;
                    };
                    ids.extend_from_slice(piece);
                    ends.resize(ends.len() + piece.len(), end);
                    from = end;
                }
            }
            if from < text.len() {
                let piece = &text[from..from + piece_len(&text.as_bytes()[from..])];
                let encoded = self.tokenizer.encode(piece)?;
                self.pieces
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(piece.into(), encoded.into());
            }
        }
        Ok(())
    }

    /// The same without the cache.
    fn encode_whole(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        ends: &mut Vec<usize>,
    ) -> Result<(), TokenizerError> {
        let encoding =
            guarded(|| self.tokenizer.inner.encode(text, false)).map_err(coding("encode"))?;
        ids.extend_from_slice(encoding.get_ids());
        let mut end = 0;
        let tokens = encoding.get_word_ids().iter().zip(encoding.get_offsets());
        let tokens: Vec<_> = tokens.collect();
        for piece in tokens.chunk_by(|(a, _), (b, _)| a.is_some() && a == b) {
            end = piece.iter().map(|(_, (_, to))| *to).fold(end, usize::max);
            ends.resize(ends.len() + piece.len(), end);
        }
        Ok(())
    }
}

/// Whether a tokenizer only splits text by GPT-2's pattern, so that the ids of a text are those of
/// its pieces.
fn splits_as_gpt2(tokenizer: &Tokenizer) -> bool {
    let by_pattern = match tokenizer.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(bytes)) => !bytes.add_prefix_space && bytes.use_regex,
        _ => false,
    };
    let by_chance = match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => bpe.dropout.is_some(),
        _ => false,
    };
    by_pattern && !by_chance && tokenizer.get_normalizer().is_none()
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Class {
    Letter,
    Digit,
    Space,
    Other,
}

fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b' ' | b'\t'..=b'\r' => Class::Space,
        _ => Class::Other,
    }
}

/// The length of the first match of GPT-2's pattern in ASCII text:
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
fn piece_len(text: &[u8]) -> usize {
    for contraction in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
        if text.starts_with(contraction.as_bytes()) {
            return contraction.len();
        }
    }
    let run = |from: usize, of: Class| {
        let rest = &text[from..];
        from + rest
            .iter()
            .position(|&byte| class(byte) != of)
            .unwrap_or(rest.len())
    };
    let first = class(text[0]);
    if first != Class::Space {
        return run(0, first);
    }
    if text[0] == b' '
        && let Some(&second) = text.get(1)
        && class(second) != Class::Space
    {
        return run(1, class(second));
    }
    let end = run(0, Class::Space);
    // The last of several white spaces before a word belongs to the word.
    if end < text.len() && end > 1 {
        end - 1
    } else {
        end
    }
}
