//! Encoding of texts that are too long to be encoded at once.

use super::{TextTokenizer, TokenizerError};

/// Bytes of text that are encoded at a time.
const PIECE: usize = 1 << 17;
/// Bytes behind a cut that show whether it is one.
const AFTER: usize = 1 << 12;
/// The most bytes that may be without a place to cut.
const MOST: usize = 1 << 20;
/// Places of each kind that are tried.
const TRIED: [usize; 3] = [8, 8, 512];

/// Encodes a text that comes in parts, with the ids of the whole, in memory that does not grow with
/// it.
///
/// The text is cut where that changes no id. A cut is found by encoding the text up to a place some
/// thousand bytes behind it, once as a whole and once from the cut on: the second ids must be the
/// last of the first. The next piece must begin with them again. This holds between words for every
/// tokenizer that splits texts into words, and inside of an endless word between two tokens of a
/// byte-pair encoding, which are right where each pair of neighbours is.
#[derive(Debug)]
pub struct PieceEncoder<'a> {
    tokenizer: &'a TextTokenizer,
    /// Text from the last cut on.
    text: String,
    /// What its first ids must be.
    expected: Vec<u32>,
    /// Bytes of text before a cut is looked for.
    wanted: usize,
}

impl<'a> PieceEncoder<'a> {
    /// Before the first part of a text.
    pub fn new(tokenizer: &'a TextTokenizer) -> Self {
        Self {
            tokenizer,
            text: String::new(),
            expected: Vec::new(),
            wanted: PIECE,
        }
    }

    /// Adds a part of the text, and the ids that are known by now to `ids`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Coding`] where the tokenizer does not know what to do with the text, and
    /// [`TokenizerError::NoCut`] where a long text cannot be cut.
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

    /// Ends the text and adds its last ids; the next part is one of another text.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn finish(&mut self, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let last = self.encoded()?;
        ids.extend(last);
        self.text.clear();
        self.expected.clear();
        self.wanted = PIECE;
        Ok(())
    }

    /// The ids of the text at hand.
    fn encoded(&self) -> Result<Vec<u32>, TokenizerError> {
        let all = self.tokenizer.encode(&self.text)?;
        match all.starts_with(&self.expected) {
            true => Ok(all),
            false => Err(TokenizerError::NoCut { bytes: MOST }),
        }
    }

    /// Goes on from a cut, behind which there are these ids as far as is known.
    fn begin_at(&mut self, place: usize, mut after: Vec<u32>) {
        self.text.drain(..place);
        // The last ones depend on what follows.
        after.truncate(after.len() / 2);
        self.expected = after;
        self.wanted = PIECE;
    }

    /// Cuts the text behind the ids that are certain; where it cannot be cut, waits for more.
    fn cut(&mut self, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut all = self.encoded()?;
        for place in places(&self.text) {
            let after = self.tokenizer.encode(&self.text[place..])?;
            let kept = all.len().saturating_sub(after.len());
            // What is not yet expected was cut off from the words before it at the last cut.
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

/// Places where a text may be cut, the best first: before blanks, before ends of lines, anywhere.
fn places(text: &str) -> Vec<usize> {
    let end = text.floor_char_boundary(text.len().saturating_sub(AFTER));
    let bytes = text.as_bytes();
    // Never in the first half, or little is gained.
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
