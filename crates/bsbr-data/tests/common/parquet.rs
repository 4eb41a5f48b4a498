//! Small parquet files with columns of text.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses its own part.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub compression: Compression,
    pub dictionary: bool,
    /// Whether values may be missing, as in what other tools write.
    pub optional: bool,
    pub rows_per_group: usize,
}

impl Default for Form {
    /// As the Hub's own files are.
    fn default() -> Self {
        Self {
            compression: Compression::SNAPPY,
            dictionary: true,
            optional: true,
            rows_per_group: 3,
        }
    }
}

/// Writes columns of equal length; a null is `None`.
pub fn write(path: &Path, columns: &[(&str, Vec<Option<&str>>)], form: Form) {
    let kind = if form.optional {
        "OPTIONAL"
    } else {
        "REQUIRED"
    };
    let fields: String = columns
        .iter()
        .map(|(name, _)| format!("{kind} BYTE_ARRAY {name} (UTF8);"))
        .collect();
    let schema = parse_message_type(&format!("message rows {{ {fields} }}")).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(form.compression)
        .set_dictionary_enabled(form.dictionary)
        .build();
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    let rows = columns.first().map_or(0, |(_, values)| values.len());
    for start in (0..rows).step_by(form.rows_per_group) {
        let end = (start + form.rows_per_group).min(rows);
        let mut group = writer.next_row_group().unwrap();
        for (_, values) in columns {
            let part = &values[start..end];
            let present: Vec<ByteArray> = part.iter().flatten().map(|&text| text.into()).collect();
            let levels: Vec<i16> = part.iter().map(|text| i16::from(text.is_some())).collect();
            let levels = form.optional.then_some(levels.as_slice());
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&present, levels, None)
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Writes columns in which nothing is missing.
pub fn write_texts(path: &Path, columns: &[(&str, &[&str])], form: Form) {
    let columns: Vec<(&str, Vec<Option<&str>>)> = columns
        .iter()
        .map(|(name, texts)| (*name, texts.iter().copied().map(Some).collect()))
        .collect();
    write(path, &columns, form);
}
