//! Text columns of Parquet files, row by row.

mod footer;
mod page;
mod thrift;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Type};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;

use super::error::DatasetError;
use crate::guard::guarded;

/// The expected format in errors.
const EXPECTED: &str = "a parquet file";
/// The magic number at both ends of a file.
const MAGIC: &[u8; 4] = b"PAR1";
/// The length of the footer's length and the magic number, in bytes.
const TAIL: u64 = 8;
/// The size limit of a footer, in bytes.
const MAX_FOOTER: u64 = 16 << 20;
/// Rows decoded at a time.
const BATCH: usize = 64;
/// The maximum number of columns in an error.
const NAMED: usize = 12;

/// Text columns of a Parquet file.
///
/// Pages must be uncompressed or compressed with Snappy, in plain or dictionary encoding.
#[derive(Debug)]
pub struct TextTable {
    path: PathBuf,
    file: Arc<File>,
    metadata: ParquetMetaData,
    columns: Vec<(usize, String)>,
    rows: u64,
}

impl TextTable {
    /// Opens a file for these columns, and checks its metadata.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] if it is not a Parquet file, or a column is missing or of another type.
    pub fn open(path: &Path, columns: &[&str]) -> Result<Self, DatasetError> {
        let mut file = File::open(path).map_err(io(path))?;
        let length = check_footer(path, &mut file)?;
        let metadata = guarded("parquet", || {
            ParquetMetaDataReader::new().parse_and_finish(&file)
        })
        .map_err(|reason| malformed(path, reason))?;
        let columns = columns
            .iter()
            .map(|column| Ok((place(path, &metadata, column)?, (*column).to_owned())))
            .collect::<Result<_, DatasetError>>()?;
        let mut table = Self {
            path: path.to_owned(),
            file: Arc::new(file),
            metadata,
            columns,
            rows: 0,
        };
        for group in 0..table.metadata.num_row_groups() {
            for column in &table.columns {
                table.chunk(group, column, length)?;
            }
            // Each column is checked to be nonnegative; a file without columns has no rows to
            // read.
            let rows = u64::try_from(table.metadata.row_group(group).num_rows());
            table.rows = table.rows.saturating_add(rows.unwrap_or(0));
        }
        Ok(table)
    }

    /// The number of rows, from the metadata.
    pub fn row_count(&self) -> u64 {
        self.rows
    }

    /// The rows: the texts of the columns, in the requested order.
    pub fn into_rows(self) -> TextRows {
        TextRows {
            table: self,
            group: 0,
            readers: Vec::new(),
            left: 0,
            row: 0,
        }
    }

    /// The position of a column of a row group, after a check that it is inside the file.
    fn chunk(
        &self,
        group: usize,
        (column, name): &(usize, String),
        length: u64,
    ) -> Result<page::Chunk, DatasetError> {
        let wrong = |expected, found| self.content(name, group, expected, found);
        let rows = self.metadata.row_group(group);
        let Some(chunk) = rows.columns().get(*column) else {
            return Err(wrong("its column", "none".to_owned()));
        };
        let snappy = match chunk.compression() {
            Compression::UNCOMPRESSED => false,
            Compression::SNAPPY => true,
            other => return Err(wrong("Snappy or no compression", format!("{other}"))),
        };
        let start = chunk
            .dictionary_page_offset()
            .unwrap_or(chunk.data_page_offset());
        let numbers = [start, chunk.compressed_size(), rows.num_rows()].map(u64::try_from);
        let [Ok(start), Ok(size), Ok(rows)] = numbers else {
            return Err(wrong("sizes of 0 or more", "a negative one".to_owned()));
        };
        if start.checked_add(size).is_none_or(|end| end > length) {
            let found = format!("{size} bytes from byte {start}, of {length}");
            return Err(wrong("a place in the file", found));
        }
        Ok(page::Chunk {
            start,
            length: size,
            snappy,
            rows,
        })
    }

    /// A reader of a column of a row group.
    fn reader(&self, group: usize, column: &(usize, String)) -> Result<Column, DatasetError> {
        let length = self.file.metadata().map_err(io(&self.path))?.len();
        let wrong = |found| self.content(&column.1, group, "sound pages", found);
        let chunk = self.chunk(group, column, length)?;
        page::check(&self.file, chunk).map_err(wrong)?;
        let rows = self.metadata.row_group(group);
        let reader = guarded("parquet", || {
            let meta = rows.column(column.0);
            let count = usize::try_from(chunk.rows).unwrap_or(usize::MAX);
            let pages = SerializedPageReader::new(self.file.clone(), meta, count, None)?;
            let pages = Box::new(pages);
            Ok::<_, parquet::errors::ParquetError>(ColumnReaderImpl::new(
                meta.column_descr_ptr(),
                pages,
            ))
        });
        Ok(Column {
            reader: reader.map_err(wrong)?,
            batch: VecDeque::new(),
        })
    }

    fn content(
        &self,
        column: &str,
        group: usize,
        expected: &'static str,
        found: String,
    ) -> DatasetError {
        DatasetError::Content {
            file: self.path.clone(),
            column: column.to_owned(),
            place: format!("row group {group}"),
            expected,
            found,
        }
    }
}

/// The rows of a [`TextTable`]; an error ends the iteration.
pub struct TextRows {
    table: TextTable,
    /// The next row group.
    group: usize,
    readers: Vec<Column>,
    /// Remaining rows of the current group.
    left: u64,
    /// Number of finished rows.
    row: u64,
}

impl std::fmt::Debug for TextRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextRows")
            .field("file", &self.table.path)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

/// A column of the current row group.
struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    batch: VecDeque<Option<ByteArray>>,
}

impl Column {
    /// The next value: an inner `None` for null, an outer one at the end.
    fn next(&mut self) -> Result<Option<Option<ByteArray>>, String> {
        if self.batch.is_empty() {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let reader = &mut self.reader;
            let (rows, ..) = guarded("parquet", || {
                reader.read_records(BATCH, Some(&mut levels), None, &mut values)
            })?;
            let mut values = values.into_iter();
            match levels.is_empty() {
                // A column without nulls has no levels.
                true => self.batch.extend(values.take(rows).map(Some)),
                false => self.batch.extend(levels.iter().map(|&level| match level {
                    0 => None,
                    _ => values.next(),
                })),
            }
        }
        Ok(self.batch.pop_front())
    }
}

impl TextRows {
    /// The next row, with `None` for a null.
    pub(super) fn next_values(&mut self) -> Result<Option<Vec<Option<String>>>, DatasetError> {
        while self.left == 0 {
            if self.group == self.table.metadata.num_row_groups() || self.table.columns.is_empty() {
                return Ok(None);
            }
            let (table, group) = (&self.table, self.group);
            let columns = table.columns.iter();
            self.readers = columns
                .map(|column| table.reader(group, column))
                .collect::<Result<_, _>>()?;
            self.left = u64::try_from(table.metadata.row_group(group).num_rows()).unwrap_or(0);
            self.group += 1;
        }
        let mut row = Vec::with_capacity(self.readers.len());
        for (reader, (_, column)) in self.readers.iter_mut().zip(&self.table.columns) {
            let wrong = |expected, found| DatasetError::Content {
                file: self.table.path.clone(),
                column: column.clone(),
                place: format!("row {}", self.row),
                expected,
                found,
            };
            let value = reader.next().map_err(|reason| wrong("a text", reason))?;
            let value = match value {
                Some(Some(value)) => value,
                Some(None) => {
                    row.push(None);
                    continue;
                }
                None => return Err(wrong("a row", "the end of the column".to_owned())),
            };
            let text = str::from_utf8(value.data())
                .map_err(|error| wrong("text in UTF-8", error.to_string()))?;
            row.push(Some(text.to_owned()));
        }
        self.left -= 1;
        self.row += 1;
        Ok(Some(row))
    }

    /// The next row, in which null is an error.
    fn next_row(&mut self) -> Result<Option<Vec<String>>, DatasetError> {
        let Some(row) = self.next_values()? else {
            return Ok(None);
        };
        let columns = row.into_iter().zip(&self.table.columns);
        let texts = columns.map(|(text, (_, column))| {
            text.ok_or_else(|| DatasetError::Content {
                file: self.table.path.clone(),
                column: column.clone(),
                place: format!("row {}", self.row - 1),
                expected: "a text",
                found: "null".to_owned(),
            })
        });
        texts.collect::<Result<_, _>>().map(Some)
    }
}

impl Iterator for TextRows {
    type Item = Result<Vec<String>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row();
        if row.is_err() {
            self.left = 0;
            self.group = self.table.metadata.num_row_groups();
        }
        row.transpose()
    }
}

/// Checks the footer of a file, and returns the file's length.
fn check_footer(path: &Path, file: &mut File) -> Result<u64, DatasetError> {
    let length = file.metadata().map_err(io(path))?.len();
    let mut tail = [0; TAIL as usize];
    if length < TAIL + MAGIC.len() as u64 {
        return Err(malformed(path, format!("{length} bytes")));
    }
    file.seek(SeekFrom::Start(length - TAIL))
        .and_then(|_| file.read_exact(&mut tail))
        .map_err(io(path))?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic != *MAGIC {
        return Err(malformed(path, "another end".to_owned()));
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > MAX_FOOTER.min(length - TAIL) {
        let found = format!("a footer of {footer} bytes in a file of {length}");
        return Err(malformed(path, found));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length - TAIL - footer))
        .and_then(|_| file.take(footer).read_to_end(&mut bytes))
        .map_err(io(path))?;
    footer::check(&bytes).map_err(|error| malformed(path, format!("another footer: {error}")))?;
    Ok(length)
}

/// The index of a text column.
fn place(path: &Path, metadata: &ParquetMetaData, column: &str) -> Result<usize, DatasetError> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let wrong = |found| DatasetError::Column {
        file: path.to_owned(),
        column: column.to_owned(),
        expected: "a flat column of texts",
        found,
    };
    let named = |name: &str| columns.iter().position(|one| one.path().string() == name);
    let Some(place) = named(column) else {
        let names = columns.iter().map(|one| one.path().string());
        let names: Vec<String> = names.take(NAMED).collect();
        return Err(wrong(format!("none; there are {}", names.join(", "))));
    };
    let found = &columns[place];
    if found.physical_type() != Type::BYTE_ARRAY {
        return Err(wrong(format!("{}", found.physical_type())));
    }
    if found.max_rep_level() > 0 || found.max_def_level() > 1 {
        return Err(wrong("lists or nested texts".to_owned()));
    }
    Ok(place)
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> DatasetError {
    let file = path.to_owned();
    move |source| DatasetError::Io {
        file: file.clone(),
        source,
    }
}

fn malformed(path: &Path, found: String) -> DatasetError {
    DatasetError::Malformed {
        file: path.to_owned(),
        expected: EXPECTED,
        found,
    }
}
