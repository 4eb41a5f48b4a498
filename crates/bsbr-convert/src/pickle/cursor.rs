//! The arguments of a pickle's instructions.

use super::scan::{Step, Stop};

/// The size limit of a pickle, in bytes. A tensor takes about 150.
pub(super) const MAX_PICKLE: usize = 4 << 20;
/// The limit of strings, in bytes: names of tensors and of storages.
pub(super) const MAX_STRING: usize = 512;

/// A position in a pickle.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of `bytes`, limited to the maximum size of a pickle.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.get(..MAX_PICKLE).unwrap_or(bytes),
            at: 0,
        }
    }

    /// Bytes before this position.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn byte(&mut self) -> Step<u8> {
        let byte = *self.bytes.get(self.at).ok_or("it is cut short")?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn skip(&mut self, length: usize) -> Step {
        self.take(length).map(|_| ())
    }

    /// A little-endian number of `width` bytes.
    pub(super) fn number(&mut self, width: usize) -> Step<u64> {
        let bytes = self.take(width)?.iter().rev();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A length of `width` bytes.
    pub(super) fn length(&mut self, width: usize, max: usize) -> Step<usize> {
        let length = self.number(width)?;
        usize::try_from(length)
            .ok()
            .filter(|&length| length <= max)
            .ok_or_else(|| format!("a value of {length} bytes, expected at most {max}").into())
    }

    /// A string preceded by a length of `width` bytes.
    pub(super) fn text(&mut self, width: usize) -> Step<&'a str> {
        let length = self.length(width, MAX_STRING)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a string is not UTF-8")?;
        Ok(text)
    }

    /// The text before the next line feed.
    pub(super) fn line(&mut self) -> Step<&'a str> {
        let bytes: &'a [u8] = self.bytes;
        let rest = bytes.get(self.at..).unwrap_or_default();
        let window = rest.get(..MAX_STRING + 1).unwrap_or(rest);
        let length = window
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or("a line without end")?;
        self.at += length + 1;
        let line = window.get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(std::str::from_utf8(line).map_err(|_| "a line is not UTF-8")?)
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let bytes: &'a [u8] = self.bytes;
        let taken = bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..length))
            .ok_or("it is cut short")?;
        self.at += length;
        Ok(taken)
    }
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

impl From<&str> for Stop {
    fn from(message: &str) -> Self {
        Self::Wrong(message.into())
    }
}
