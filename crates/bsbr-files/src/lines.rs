//! Lines of a log.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::FileError;

/// Appends a line to a file in one write, so it is complete or absent after a kill, and lines of
/// two processes do not mix. If the last line is incomplete, the new one starts on its own line.
///
/// # Errors
///
/// [`FileError::Io`] if the file cannot be written.
pub fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let append = || {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut text = String::with_capacity(line.len() + 2);
        if !ends_a_line(&mut file)? {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        file.write_all(text.as_bytes())
    };
    append().map_err(FileError::io(path))
}

fn ends_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
