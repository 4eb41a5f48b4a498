//! The folder of records: one JSON file a unit.

use std::path::{Path, PathBuf};

use bsbr_files::write_file;

use crate::error::ReportError;
use crate::hash;
use crate::record::{FORMAT, Record, Records};

/// A folder with a folder of records for each experiment.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Where a unit's record is.
    pub fn path(&self, experiment: &str, unit: &str) -> PathBuf {
        self.folder.join(experiment).join(format!("{unit}.json"))
    }

    /// The record of a unit, whatever it is tied to.
    ///
    /// A file that is not a record, or not what was written, counts as none: the unit is run again.
    ///
    /// # Errors
    ///
    /// [`ReportError::Read`] where a file is there but cannot be read.
    pub fn find(&self, experiment: &str, unit: &str) -> Result<Option<Record>, ReportError> {
        let path = self.path(experiment, unit);
        if !path.is_file() {
            return Ok(None);
        }
        let found = parse(&path, &bytes(&path)?).ok();
        Ok(found.filter(|record| record.unit == unit))
    }

    /// Every record of an experiment, in the order of the files' names.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where a file cannot be read or is not a record.
    pub fn all(&self, experiment: &str) -> Result<Records, ReportError> {
        let folder = self.folder.join(experiment);
        let mut paths: Vec<PathBuf> = match std::fs::read_dir(&folder) {
            Ok(listing) => listing
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|end| end == "json"))
                .collect(),
            Err(_) => Vec::new(),
        };
        paths.sort();
        let records = paths
            .iter()
            .map(|path| parse(path, &bytes(path)?))
            .collect::<Result<_, _>>()?;
        Ok(Records::new(records))
    }

    /// Writes a record beside its place and renames it, so that a reader never sees half of it.
    ///
    /// # Errors
    ///
    /// [`ReportError::Output`] where the folder or the file cannot be written.
    pub fn save(&self, record: &Record) -> Result<(), ReportError> {
        let path = self.path(&record.method.experiment, &record.unit);
        Ok(write_file(&path, text(record)?.as_bytes())?)
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, ReportError> {
    std::fs::read(path).map_err(|source| ReportError::Read {
        path: path.to_owned(),
        source,
    })
}

/// What stands before a record's checksum.
const CHECKSUM: &str = "\"checksum\": \"";

/// The head for people, and one measurement a line; with the checksum of all that.
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
        false => Err(wrong(
            "it is not what was written: its checksum differs".to_owned(),
        )),
    }
}
