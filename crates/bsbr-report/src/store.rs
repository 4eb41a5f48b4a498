//! The folder of records: one JSON file per unit.

use std::path::{Path, PathBuf};

use bsbr_files::write_file;

use crate::error::ReportError;
use crate::hash;
use crate::record::{FORMAT, Record, Records};
use crate::spec::files;

/// A folder with a folder of records for each experiment.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store in `folder`, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The path of a unit's record.
    pub fn path(&self, experiment: &str, unit: &str) -> PathBuf {
        self.folder.join(experiment).join(format!("{unit}.json"))
    }

    /// The record of a unit, whatever its identity.
    ///
    /// An invalid or damaged file is ignored, and the unit is run again.
    ///
    /// # Errors
    ///
    /// [`ReportError::Read`] if a file exists but cannot be read.
    pub fn find(&self, experiment: &str, unit: &str) -> Result<Option<Record>, ReportError> {
        let path = self.path(experiment, unit);
        if !path.is_file() {
            return Ok(None);
        }
        let found = parse(&path, &bytes(&path)?).ok();
        Ok(found.filter(|record| record.unit == unit))
    }

    /// Every record of an experiment, in the order of file names.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if a file cannot be read or is not a record.
    pub fn all(&self, experiment: &str) -> Result<Records, ReportError> {
        read_all(&self.folder.join(experiment)).map(Records::new)
    }

    /// Writes a record atomically, so that a reader never sees an incomplete one.
    ///
    /// # Errors
    ///
    /// [`ReportError::Output`] if the folder or the file cannot be written.
    pub fn save(&self, record: &Record) -> Result<(), ReportError> {
        let path = self.path(&record.method.experiment, &record.unit);
        write(&path, record)
    }
}

/// Reads every record of a folder, in the order of file names; there are none without a folder.
///
/// # Errors
///
/// [`ReportError`] if the folder or a file cannot be read, or a file is not a record.
pub fn read_all(folder: &Path) -> Result<Vec<Record>, ReportError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let paths = files(folder, &["json"])?;
    paths.iter().map(|path| read(path)).collect()
}

/// Reads a record.
///
/// # Errors
///
/// [`ReportError`] if the file cannot be read or is not a record.
pub fn read(path: &Path) -> Result<Record, ReportError> {
    parse(path, &bytes(path)?)
}

/// Writes a record atomically.
///
/// # Errors
///
/// [`ReportError::Output`] if the file cannot be written.
pub fn write(path: &Path, record: &Record) -> Result<(), ReportError> {
    Ok(write_file(path, text(record)?.as_bytes())?)
}

fn bytes(path: &Path) -> Result<Vec<u8>, ReportError> {
    std::fs::read(path).map_err(ReportError::reading(path))
}

/// The text before a record's checksum.
const CHECKSUM: &str = "\"checksum\": \"";

/// The fields with line breaks for readability, one measurement per line, and the checksum of all
/// of it.
fn text(record: &Record) -> Result<String, ReportError> {
    let head = Record {
        checksum: String::new(),
        measurements: Vec::new(),
        ..record.clone()
    };
    let head = serde_json::to_string_pretty(&head)?;
    let lines = record
        .measurements
        .iter()
        .map(|one| Ok(format!("    {}", serde_json::to_string(one)?)))
        .collect::<Result<Vec<_>, ReportError>>()?;
    // `measurements` is the last field, and empty in the head.
    let head = head.trim_end().trim_end_matches('}').trim_end();
    let head = head.trim_end_matches(']');
    let text = format!("{head}\n{}\n  ]\n}}\n", lines.join(",\n"));
    let sum = hash::of_bytes(text.as_bytes());
    Ok(text.replacen(CHECKSUM, &format!("{CHECKSUM}{sum}"), 1))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Record, ReportError> {
    let wrong = |message: String| ReportError::Record {
        path: path.to_owned(),
        message,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    let record: Record = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if record.format != FORMAT {
        let found = record.format;
        return Err(wrong(format!("its format is {found}, expected {FORMAT}")));
    }
    let sum = format!("{CHECKSUM}{}", record.checksum);
    match hash::of_bytes(text.replacen(&sum, CHECKSUM, 1).as_bytes()) == record.checksum {
        true => Ok(record),
        false => Err(wrong("its checksum differs from its content".to_owned())),
    }
}
