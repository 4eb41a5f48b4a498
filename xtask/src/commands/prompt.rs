//! A text for a model, encoded while it is read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bsbr_data::tokenizer::{PieceEncoder, TextTokenizer};

/// Bytes read at a time.
const BLOCK: usize = 1 << 16;

/// A text that is not read yet.
pub struct Prompt {
    name: String,
    from: Box<dyn Read>,
}

impl Prompt {
    /// The text of a file, without its final line end.
    ///
    /// # Errors
    ///
    /// Names the file if it cannot be opened.
    pub fn file(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let from = Box::new(File::open(path).with_context(|| name.clone())?);
        Ok(Self { name, from })
    }

    /// The text from standard input, without its final line end.
    pub fn input() -> Self {
        Self {
            name: "standard input".to_owned(),
            from: Box::new(std::io::stdin()),
        }
    }

    /// Appends the text's ids to `ids`, in bounded memory. A text with more than `most` tokens is
    /// not read to its end.
    ///
    /// # Errors
    ///
    /// Names the text if it cannot be read or encoded, is not in UTF-8, or is too long.
    pub fn encode(
        self,
        tokenizer: &TextTokenizer,
        most: Option<usize>,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        let name = self.name;
        let mut blocks = Blocks::new(self.from);
        let mut encoder = PieceEncoder::new(tokenizer);
        while let Some(text) = blocks.next().with_context(|| name.clone())? {
            // Later text cannot reduce the number of ids.
            match most {
                Some(most) if ids.len() > most => bail!(
                    "{name}: more than {} tokens, but the model has {most} positions; shorten the \
                     text, or let `{} convert --model MODEL --positions N --out FOLDER` write a \
                     model that takes N tokens",
                    ids.len(),
                    crate::program()
                ),
                _ => encoder.push(&text, ids).with_context(|| name.clone())?,
            }
        }
        encoder.finish(ids).with_context(|| name.clone())
    }
}

/// The text of a stream in blocks, without its final line end.
struct Blocks<R> {
    from: R,
    /// Bytes whose meaning depends on the next ones.
    rest: Vec<u8>,
    /// The number of bytes before `rest`.
    before: usize,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            rest: Vec::new(),
            before: 0,
            ended: false,
        }
    }

    /// The next block; `None` after the last.
    fn next(&mut self) -> Result<Option<String>> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.rest);
        let mut from = self.from.by_ref().take(BLOCK as u64);
        self.ended = from.read_to_end(&mut bytes)? < BLOCK;
        let end = bytes.len() - line_end(&bytes, self.ended);
        let after = bytes.split_off(end);
        if !self.ended {
            self.rest = after;
        }
        if let Err(error) = str::from_utf8(&bytes) {
            let valid = error.valid_up_to();
            if error.error_len().is_some() || self.ended {
                let place = self.before + valid;
                bail!("expected text in UTF-8, found something else at byte {place}");
            }
            // A character that continues in the next block.
            self.rest.splice(..0, bytes.split_off(valid));
        }
        self.before += bytes.len();
        Ok(Some(String::from_utf8(bytes)?))
    }
}

/// The number of bytes of the final line end; before the end of the text, of what may be a part of
/// it.
fn line_end(bytes: &[u8], ended: bool) -> usize {
    match bytes {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        [.., b'\r'] if !ended => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String> {
        let mut blocks = Blocks::new(bytes);
        let mut text = String::new();
        while let Some(block) = blocks.next()? {
            text.push_str(&block);
        }
        Ok(text)
    }

    #[test]
    fn a_text_is_read_without_its_last_line_end() {
        for (bytes, expected) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r", "a\r"),
            ("a", "a"),
            ("", ""),
        ] {
            // Also where it is at the boundary of blocks.
            for length in [0, BLOCK - 3, BLOCK - 2, BLOCK - 1, BLOCK] {
                let before = "b".repeat(length);
                let found = read(format!("{before}{bytes}").as_bytes()).expect("text");
                assert!(found == format!("{before}{expected}"), "{length} {bytes:?}");
            }
        }
    }

    #[test]
    fn characters_may_be_at_the_boundary_of_blocks() {
        for length in BLOCK - 5..BLOCK + 1 {
            let text = format!("{}\u{1f642}\n\r\u{e9}\r\n.", "b".repeat(length));
            assert!(read(text.as_bytes()).expect("text") == text, "{length}");
        }
    }

    #[test]
    fn other_bytes_are_refused_with_their_place() {
        for (bytes, place) in [
            ([&[b'a'; BLOCK + 7], &[0xff, b'a'][..]].concat(), BLOCK + 7),
            // A truncated character.
            ([&[b'a'; 7], &[0xe4, 0xbd][..]].concat(), 7),
            ([&[b'a'; 7], &[0xe4, b'\n'][..]].concat(), 7),
        ] {
            let error = read(&bytes).expect_err("no text").to_string();
            assert!(error.ends_with(&format!("byte {place}")), "{error}");
        }
    }
}
