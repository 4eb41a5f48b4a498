//! The format of a dataset file, from the extension of its name.

use std::path::Path;

use super::error::DatasetError;

/// The format of a dataset file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One text.
    Plain,
    /// An object per line.
    JsonLines,
    /// An object per line, or a list of objects.
    Json,
    /// Columns.
    Parquet,
}

/// Formats, and their extensions in lower case.
const ENDINGS: [(Form, &[&str]); 4] = [
    (Form::Plain, &["txt", "text", "md", "raw", "tokens"]),
    (Form::JsonLines, &["jsonl", "ndjson", "jsonlines", "ldjson"]),
    (Form::Json, &["json"]),
    (Form::Parquet, &["parquet"]),
];

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The additional extensions of compressed files.
const PACKED: [(&str, Packing); 2] = [("gz", Packing::Gzip), ("zst", Packing::Zstd)];

/// The format of a file, and its compression.
///
/// # Errors
///
/// [`DatasetError::Ending`] if the extension is unknown: training on a wrong guess would go
/// unnoticed.
pub(super) fn of(path: &Path) -> Result<(Form, Packing), DatasetError> {
    let ending = |path: &Path| {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        ending.to_string_lossy().into_owned()
    };
    let last = ending(path);
    let packing = PACKED.iter().find(|(known, _)| *known == last);
    let (name, packing) = match packing {
        Some((_, packing)) => (ending(&path.with_extension("")), *packing),
        None => (last, Packing::None),
    };
    let found = ENDINGS.iter().find(|(_, known)| known.contains(&&*name));
    match found {
        // Parquet compresses its own pages.
        Some((form, _)) if packing == Packing::None || *form != Form::Parquet => {
            Ok((*form, packing))
        }
        _ => Err(DatasetError::Ending {
            file: path.to_owned(),
            known: known(),
        }),
    }
}

/// Every supported extension, for messages.
fn known() -> String {
    let names = ENDINGS.iter().flat_map(|(_, names)| *names);
    let named: Vec<String> = names.map(|name| format!(".{name}")).collect();
    let packed = PACKED.map(|(name, _)| format!(".{name}")).join(" or ");
    format!("{}, each but .parquet also with {packed}", named.join(", "))
}
