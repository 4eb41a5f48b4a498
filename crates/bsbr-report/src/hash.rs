//! The hashes in a record: of specifications, models and texts.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::ReportError;

/// SHA-256 in hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// SHA-256 of parts in sequence, in hexadecimal.
///
/// # Errors
///
/// The first error among the parts.
pub fn of_parts<E>(parts: impl Iterator<Item = Result<Vec<u8>, E>>) -> Result<String, E> {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part?);
    }
    Ok(format!("{:x}", hasher.finalize()))
}

/// SHA-256 of files in sequence, each with its name; missing files are skipped.
///
/// # Errors
///
/// [`ReportError::Read`] if a file exists but cannot be read.
pub fn of_files<P: AsRef<Path>>(paths: &[P]) -> Result<String, ReportError> {
    let mut hasher = Sha256::new();
    for path in paths
        .iter()
        .map(AsRef::as_ref)
        .filter(|path| path.is_file())
    {
        let failed = ReportError::reading(path);
        let name = path.file_name().unwrap_or_default();
        hasher.update(name.as_encoded_bytes());
        let mut file = std::fs::File::open(path).map_err(&failed)?;
        std::io::copy(&mut file, &mut hasher).map_err(&failed)?;
    }
    Ok(format!("{:x}", hasher.finalize()))
}
