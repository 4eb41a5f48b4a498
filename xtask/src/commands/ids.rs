//! Files of token ids.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The size limit of a file of ids, in bytes.
const MAX_BYTES: u64 = 1 << 28;

/// The rows of a JSON file: a list of lists of token ids.
///
/// # Errors
///
/// Describes the error if the file is invalid.
pub fn read(path: &Path) -> Result<Vec<Vec<u32>>> {
    let size = std::fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .len();
    if size > MAX_BYTES {
        bail!(
            "{}: {size} bytes, more than the {MAX_BYTES} accepted",
            path.display()
        );
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{}: expected a JSON list of lists of token ids, such as [[12, 7], [3, 5]]",
            path.display()
        )
    })
}
