//! The text of ids in a stream.

use super::{TextTokenizer, TokenizerError};

/// The number of preceding tokens that may affect the text of the next one.
const CONTEXT: usize = 8;
/// The number of calls after which an incomplete character is returned: with single tokens, more
/// than the bytes of any character.
const MOST_HELD: usize = 8;

/// Turns ids into text one by one; the concatenated results are the text of all ids.
///
/// A character may consist of several tokens; its text is returned with the last of them.
///
/// # Example
///
/// ```
/// # use bsbr_data::tokenizer::{Detokenizer, TextTokenizer};
/// let tokenizer = TextTokenizer::train_bpe(["a tiny text"], 300)?;
/// let mut detokenizer = Detokenizer::new(&tokenizer, &[]);
/// let mut text = String::new();
/// for id in tokenizer.encode("é, a text")? {
///     text += &detokenizer.push(id)?;
/// }
/// text += &detokenizer.finish()?;
/// assert_eq!(text, "é, a text");
/// # Ok::<(), bsbr_data::tokenizer::TokenizerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Detokenizer<'a> {
    tokenizer: &'a TextTokenizer,
    /// Some previous tokens, then those whose text is pending.
    ids: Vec<u32>,
    given: usize,
}

impl<'a> Detokenizer<'a> {
    /// For ids that follow `before`, whose text is not returned.
    pub fn new(tokenizer: &'a TextTokenizer, before: &[u32]) -> Self {
        let ids = before[before.len().saturating_sub(CONTEXT)..].to_vec();
        Self {
            tokenizer,
            given: ids.len(),
            ids,
        }
    }

    /// The text that `id` completes; empty within a character.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the ids cannot be decoded.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.extend(&[id])
    }

    /// The text that `ids` complete, in less time than one by one; empty if they end within a
    /// character.
    ///
    /// # Errors
    ///
    /// Same as [`push`](Self::push).
    pub fn extend(&mut self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.ids.extend_from_slice(ids);
        let all = self.tokenizer.decode(&self.ids)?;
        let is_whole = !all.ends_with(char::REPLACEMENT_CHARACTER);
        match is_whole || self.ids.len() - self.given >= MOST_HELD * ids.len() {
            true => self.give(&all),
            false => Ok(String::new()),
        }
    }

    /// The remaining text: an incomplete character, as the tokenizer decodes it.
    ///
    /// # Errors
    ///
    /// Same as [`push`](Self::push).
    pub fn finish(mut self) -> Result<String, TokenizerError> {
        let all = self.tokenizer.decode(&self.ids)?;
        self.give(&all)
    }

    fn give(&mut self, all: &str) -> Result<String, TokenizerError> {
        let before = self.tokenizer.decode(&self.ids[..self.given])?;
        // A truncated character decodes differently once it is complete.
        let same = before
            .char_indices()
            .zip(all.chars())
            .find(|((_, a), b)| a != b)
            .map_or(before.len().min(all.len()), |((at, _), _)| at);
        let new = all[same..].to_owned();
        self.ids.drain(..self.ids.len().saturating_sub(CONTEXT));
        self.given = self.ids.len();
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> TextTokenizer {
        let texts = ["the lamp of Mara is in the attic, the lamp is old"];
        TextTokenizer::train_bpe(texts, 290).unwrap()
    }

    #[test]
    fn pieces_put_together_are_the_whole_text() {
        let tokenizer = tokenizer();
        for text in ["the lamp, the lamp", "naïve 文字 🦀🦀 end", "", "  \n\n x"] {
            let ids = tokenizer.encode(text).unwrap();
            for start in 0..=ids.len().min(3) {
                let mut detokenizer = Detokenizer::new(&tokenizer, &ids[..start]);
                let mut found = tokenizer.decode(&ids[..start]).unwrap();
                // A prompt may end within a character, which is then shown as broken.
                if found.ends_with(char::REPLACEMENT_CHARACTER) {
                    continue;
                }
                for &id in &ids[start..] {
                    let piece = detokenizer.push(id).unwrap();
                    assert!(
                        !piece.contains(char::REPLACEMENT_CHARACTER),
                        "{text}: {piece}"
                    );
                    found += &piece;
                }
                found += &detokenizer.finish().unwrap();
                assert_eq!(found, text);
            }
        }
    }

    #[test]
    fn several_ids_at_once_have_the_same_text() {
        let tokenizer = tokenizer();
        let text = "naïve 文字 🦀🦀 end, the lamp of Mara ".repeat(20);
        let ids = tokenizer.encode(&text).unwrap();
        for block in [1, 2, 3, 7, 40, ids.len()] {
            let mut detokenizer = Detokenizer::new(&tokenizer, &[]);
            let parts = ids
                .chunks(block)
                .map(|ids| detokenizer.extend(ids).unwrap());
            let found: String = parts.collect();
            assert_eq!(found + &detokenizer.finish().unwrap(), text, "{block}");
        }
    }

    #[test]
    fn a_character_that_never_ends_is_given_in_the_end() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("🦀").unwrap();
        let mut detokenizer = Detokenizer::new(&tokenizer, &[]);
        assert_eq!(detokenizer.push(ids[0]).unwrap(), "");
        assert_eq!(detokenizer.finish().unwrap(), "\u{fffd}");
        let mut detokenizer = Detokenizer::new(&tokenizer, &[]);
        let held = (0..2 * MOST_HELD).map(|_| detokenizer.push(ids[0]).unwrap());
        assert!(held.map(|text| text.len()).sum::<usize>() > 0);
    }
}
