//! What is in a file of texts, by the ending of its name.

use std::path::Path;

use super::error::DatasetError;

/// The form of a file of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One text.
    Plain,
    /// An object a line.
    JsonLines,
    /// An object a line, or a list of objects.
    Json,
    /// Columns.
    Parquet,
}

/// Endings, in small letters, and what they mean.
const ENDINGS: [(&str, Form); 11] = [
    ("txt", Form::Plain),
    ("text", Form::Plain),
    ("md", Form::Plain),
    ("raw", Form::Plain),
    ("tokens", Form::Plain),
    ("jsonl", Form::JsonLines),
    ("ndjson", Form::JsonLines),
    ("jsonlines", Form::JsonLines),
    ("ldjson", Form::JsonLines),
    ("json", Form::Json),
    ("parquet", Form::Parquet),
];

/// The ending of what gzip has packed, behind the other.
const GZIP: &str = "gz";

/// The form of a file, and whether gzip has packed it.
///
/// # Errors
///
/// [`DatasetError::Ending`] where its name does not say: a guess would be trained on in silence.
pub(super) fn of(path: &Path) -> Result<(Form, bool), DatasetError> {
    let ending = |path: &Path| {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        ending.to_string_lossy().into_owned()
    };
    let packed = ending(path) == GZIP;
    let name = match packed {
        true => ending(&path.with_extension("")),
        false => ending(path),
    };
    let found = ENDINGS.iter().find(|(known, _)| *known == name);
    match found {
        // Parquet packs its own pages.
        Some((_, form)) if !(packed && *form == Form::Parquet) => Ok((*form, packed)),
        _ => Err(DatasetError::Ending {
            file: path.to_owned(),
            known: known(),
        }),
    }
}

/// Every ending that is read, for people.
fn known() -> String {
    let named: Vec<String> = ENDINGS.iter().map(|(name, _)| format!(".{name}")).collect();
    format!(
        "{}, and those but .parquet with .{GZIP} behind",
        named.join(", ")
    )
}
