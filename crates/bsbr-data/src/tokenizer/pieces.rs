//! Encoding of long texts in pieces.

use super::{TextTokenizer, TokenizerError};

/// Bytes of text per piece.
const PIECE: usize = 1 << 17;
/// Bytes after a place that decide whether it can be cut.
const AFTER: usize = 1 << 12;
/// The maximum number of bytes without a place to cut.
const MOST: usize = 1 << 20;
/// The number of tried places of each kind.
const TRIED: [usize; 3] = [8, 8, 512];

/// Encodes a text in parts, with the ids of the whole text, in bounded memory.
///
/// The text is cut where this does not change its ids. To test a place, the text up to a few
/// thousand bytes after it is encoded twice, as a whole and from the place on: the second ids must
/// be the last of the first. The next piece must begin with them again. This works between words
/// for every tokenizer that splits texts into words, and inside a very long word between two tokens
/// of a byte-pair encoding, which is correct if each pair of neighbours is.
#[derive(Debug)]
pub struct PieceEncoder<'a> {
    tokenizer: &'a TextTokenizer,
    /// Text from the last cut on.
    text: String,
    /// Its required first ids.
    expected: Vec<u32>,
    /// Bytes of text before the search for the next cut.
    wanted: usize,
}

impl<'a> PieceEncoder<'a> {
    /// The state before a text.
    pub fn new(tokenizer: &'a TextTokenizer) -> Self {
        Self {
            tokenizer,
            text: String::new(),
            expected: Vec::new(),
            wanted: PIECE,
        }
    }

    /// Adds a part of the text, and appends the ids that are certain to `ids`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] if the tokenizer cannot encode the text, and
    /// [`TokenizerError::NoCut`] if a long text cannot be divided.
    pub fn push(&mut self, part: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut rest = part;
        while !rest.is_empty() {
            let room = self.wanted.saturating_sub(self.text.len()).max(4);
            let (now, later) = rest.split_at(rest.floor_char_boundary(room));
            self.text.push_str(now);
            rest = later;
            if self.text.len() + 4 > self.wanted {
                self.cut(ids)?;
            }
        }
        Ok(())
    }

    /// Ends the text and appends its last ids; the next part starts another text.
    ///
    /// # Errors
    ///
    /// Same as [`Self::push`].
    pub fn finish(&mut self, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let last = self.encoded()?;
        ids.extend(last);
        self.text.clear();
        self.expected.clear();
        self.wanted = PIECE;
        Ok(())
    }

    /// The ids of the current text.
    fn encoded(&self) -> Result<Vec<u32>, TokenizerError> {
        let all = self.tokenizer.encode(&self.text)?;
        match all.starts_with(&self.expected) {
            true => Ok(all),
            false => Err(TokenizerError::NoCut { bytes: MOST }),
        }
    }

    /// Continues from a cut, with the known ids after it.
    fn begin_at(&mut self, place: usize, mut after: Vec<u32>) {
        self.text.drain(..place);
        // The last ones depend on the following text.
        after.truncate(after.len() / 2);
        self.expected = after;
        self.wanted = PIECE;
    }

    /// Cuts the text after the ids that are certain; if it cannot be cut, waits for more.
    fn cut(&mut self, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut all = self.encoded()?;
        for place in places(&self.text) {
            let after = self.tokenizer.encode(&self.text[place..])?;
            let kept = all.len().saturating_sub(after.len());
            // Ids beyond the expected ones were separated from the words before them at the last
            // cut.
            if all.ends_with(&after) && kept >= self.expected.len() {
                all.truncate(kept);
                ids.extend(all);
                self.begin_at(place, after);
                return Ok(());
            }
        }
        match self.wanted < MOST {
            true => {
                self.wanted *= 2;
                Ok(())
            }
            false => Err(TokenizerError::NoCut { bytes: MOST }),
        }
    }
}

/// Places where a text may be cut, best first: before spaces, before line ends, anywhere.
fn places(text: &str) -> Vec<usize> {
    let end = text.floor_char_boundary(text.len().saturating_sub(AFTER));
    let bytes = text.as_bytes();
    // Only in the second half, so that a cut removes enough text.
    let first = text.len() / 2;
    let before = move |sign: u8| {
        let places = (first.max(1)..end).rev();
        places.filter(move |&at| bytes[at] == sign && !bytes[at - 1].is_ascii_whitespace())
    };
    let anywhere = (first.max(1)..=end)
        .rev()
        .filter(|&at| text.is_char_boundary(at));
    let [blanks, lines, others] = TRIED;
    before(b' ')
        .take(blanks)
        .chain(before(b'\n').take(lines))
        .chain(anywhere.take(others))
        .collect()
}
