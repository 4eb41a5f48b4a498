//! JSON lines, with one object per line and the text in one field; or a list of such objects.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::DatasetError;
use super::input::Input;

/// The size limit of an object, in bytes.
const MAX_OBJECT: usize = 64 << 20;

/// The texts of a file of JSON.
#[derive(Debug)]
pub(super) struct JsonTexts {
    input: Input,
    field: &'static str,
    /// The current line, from 1.
    line: u64,
    list: List,
    /// Objects whose field was null.
    without_text: u64,
}

/// Whether the objects are in a list.
#[derive(Debug, PartialEq, Eq)]
enum List {
    /// They are not.
    No,
    /// Unknown, because nothing was read yet.
    Maybe,
    /// The list continues.
    Open,
    /// The list has ended.
    Closed,
}

impl JsonTexts {
    /// Objects with their text in `field`; a list of them is accepted if `may_be_list`.
    pub(super) fn new(input: Input, field: &'static str, may_be_list: bool) -> Self {
        Self {
            input,
            field,
            line: 0,
            list: match may_be_list {
                true => List::Maybe,
                false => List::No,
            },
            without_text: 0,
        }
    }

    /// The number of skipped objects with a null text.
    pub(super) fn without_text(&self) -> u64 {
        self.without_text
    }

    /// The next text; blank lines and objects with a null text are skipped.
    pub(super) fn next_text(&mut self) -> Result<Option<String>, DatasetError> {
        if self.list == List::Maybe {
            self.line = 1;
            self.list = match self.next_byte()? {
                Some(b'[') => List::Open,
                _ => List::No,
            };
            match self.list {
                List::Open => self.input.take(1),
                _ => self.line -= 1,
            }
        }
        loop {
            let object = match self.list {
                List::Open | List::Closed => self.next_of_list()?,
                _ => self.next_line()?,
            };
            let Some(object) = object else {
                return Ok(None);
            };
            match self.text(&object)? {
                Some(text) => return Ok(Some(text)),
                None => self.without_text += 1,
            }
        }
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, DatasetError> {
        loop {
            let mut line = Vec::new();
            let most = MAX_OBJECT as u64 + 1;
            if self.input.read_line(&mut line, most)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if line.len() > MAX_OBJECT {
                return Err(self.too_long());
            }
            // An error at the end then belongs to this line.
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// The bytes of the next object of a list.
    fn next_of_list(&mut self) -> Result<Option<Vec<u8>>, DatasetError> {
        let expected = || "an object, a comma or the end of the list".to_owned();
        let mut object = Vec::new();
        let (mut depth, mut in_text, mut escaped) = (0u64, false, false);
        let mut between = true;
        loop {
            let byte = match between {
                true => self.next_byte()?,
                false => self.input.peek()?.first().copied(),
            };
            let Some(byte) = byte else {
                if self.list == List::Closed {
                    return Ok(None);
                }
                return Err(self.wrong(expected(), "the end of the file".to_owned()));
            };
            if between {
                match (byte, &self.list) {
                    (b'{', List::Open) => between = false,
                    (b',', List::Open) => {
                        self.input.take(1);
                        continue;
                    }
                    (b']', List::Open) => {
                        self.input.take(1);
                        self.list = List::Closed;
                        continue;
                    }
                    _ => {
                        return Err(self.wrong(expected(), format!("{:?}", char::from(byte))));
                    }
                }
            }
            self.input.take(1);
            object.push(byte);
            if object.len() > MAX_OBJECT {
                return Err(self.too_long());
            }
            match byte {
                b'\n' => self.line += 1,
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b'{' | b'[' if !in_text => depth += 1,
                b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Ok(Some(object));
            }
        }
    }

    /// The next byte that is not white space, without consuming it.
    fn next_byte(&mut self) -> Result<Option<u8>, DatasetError> {
        loop {
            let Some(&byte) = self.input.peek()?.first() else {
                return Ok(None);
            };
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.line += u64::from(byte == b'\n');
            self.input.take(1);
        }
    }

    /// The text of an object; `None` for null.
    fn text(&self, object: &[u8]) -> Result<Option<String>, DatasetError> {
        let field = self.field;
        let found = read(object, field).or_else(|error| match without_nan(object) {
            Some(object) => read(&object, field),
            None => Err(error),
        });
        let found = match found {
            Ok(Some(text)) => return Ok(text),
            Ok(None) => format!("no `{field}`"),
            Err(error) => error.to_string().replace("invalid type: ", ""),
        };
        Err(self.wrong(format!("an object with a text `{field}`"), found))
    }

    fn too_long(&self) -> DatasetError {
        let expected = format!("at most {MAX_OBJECT} bytes");
        self.wrong(expected, "more".to_owned())
    }

    fn wrong(&self, expected: String, found: String) -> DatasetError {
        DatasetError::Line {
            file: self.input.path().to_owned(),
            line: self.line.max(1),
            expected,
            found,
        }
    }
}

/// The text of `field` in an object, an inner `None` for null; other fields are discarded.
fn read(object: &[u8], field: &str) -> serde_json::Result<Option<Option<String>>> {
    let mut deserializer = serde_json::Deserializer::from_slice(object);
    let found = Field(field).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<Option<String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Option<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match key == self.0 {
                true => found = Some(map.next_value()?),
                false => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// JSON as Python writes it, with null instead of NaN and Infinity, which JSON does not have;
/// `None` if there is neither.
fn without_nan(object: &[u8]) -> Option<Vec<u8>> {
    let (mut in_text, mut escaped, mut changed) = (false, false, false);
    let mut plain = Vec::with_capacity(object.len());
    let mut rest = object;
    while let Some((&byte, after)) = rest.split_first() {
        let names: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
        let name = names.iter().find(|name| rest.starts_with(name));
        if let (Some(name), false) = (name, in_text) {
            plain.extend_from_slice(b"null");
            rest = &rest[name.len()..];
            changed = true;
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
        plain.push(byte);
        rest = after;
    }
    changed.then_some(plain)
}
