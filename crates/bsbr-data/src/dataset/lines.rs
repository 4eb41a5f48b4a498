//! JSON lines: an object a line, one of whose fields is the text.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::DatasetError;

/// The longest line accepted, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// The texts of a file of JSON lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    path: PathBuf,
    file: BufReader<File>,
    field: &'static str,
    line: u64,
}

impl JsonLines {
    /// Opens a file whose objects have their text in `field`.
    pub(super) fn open(path: &Path, field: &'static str) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(|source| DatasetError::Io {
            file: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            field,
            line: 0,
        })
    }

    /// The next line's text; blank lines are passed over.
    pub(super) fn next_text(&mut self) -> Result<Option<String>, DatasetError> {
        loop {
            let mut line = Vec::new();
            let mut limited = self.file.by_ref().take(MAX_LINE + 1);
            let count = limited.read_until(b'\n', &mut line);
            let count = count.map_err(|source| DatasetError::Io {
                file: self.path.clone(),
                source,
            })?;
            if count == 0 {
                return Ok(None);
            }
            self.line += 1;
            if count as u64 > MAX_LINE {
                let expected = format!("at most {MAX_LINE} bytes");
                return Err(self.wrong(expected, "more".to_owned()));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return self.text(line.trim_ascii_end()).map(Some);
            }
        }
    }

    fn text(&self, line: &[u8]) -> Result<String, DatasetError> {
        let field = self.field;
        let expected = || format!("an object with a text `{field}`");
        match serde_json::from_slice(line) {
            Ok(Value::Object(mut object)) => match object.remove(field) {
                Some(Value::String(text)) => Ok(text),
                Some(other) => Err(self.wrong(expected(), format!("{} there", kind(&other)))),
                None => Err(self.wrong(expected(), format!("no `{field}`"))),
            },
            Ok(other) => Err(self.wrong(expected(), kind(&other).to_owned())),
            Err(error) => Err(self.wrong(expected(), error.to_string())),
        }
    }

    fn wrong(&self, expected: String, found: String) -> DatasetError {
        DatasetError::Line {
            file: self.path.clone(),
            line: self.line,
            expected,
            found,
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
