//! CNN/DailyMail: news with highlights by their editors.

use std::path::{Path, PathBuf};

use super::error::DatasetError;
use super::parquet::{TextRows, TextTable};
use crate::article::Article;

/// The columns with the articles and their highlights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The article.
    pub article: String,
    /// Its highlights, one per line.
    pub highlights: String,
}

impl Columns {
    fn open(&self, file: &Path) -> Result<TextTable, DatasetError> {
        TextTable::open(file, &[&self.article, &self.highlights])
    }
}

/// The number of articles in these files, from their headers.
///
/// # Errors
///
/// [`DatasetError`] if a file is invalid.
pub fn count(files: &[PathBuf], columns: &Columns) -> Result<u64, DatasetError> {
    let tables = files.iter().map(|file| columns.open(file));
    tables.map(|table| Ok(table?.row_count())).sum()
}

/// The articles of Parquet files, in order; an error ends the iteration.
#[derive(Debug)]
pub struct Articles {
    files: std::vec::IntoIter<PathBuf>,
    columns: Columns,
    rows: Option<TextRows>,
}

impl Articles {
    /// Reads these files, in the given order.
    pub fn new(files: Vec<PathBuf>, columns: Columns) -> Self {
        Self {
            files: files.into_iter(),
            columns,
            rows: None,
        }
    }
}

impl Articles {
    fn row(&mut self) -> Result<Option<Vec<String>>, DatasetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some);
            }
            let Some(file) = self.files.next() else {
                return Ok(None);
            };
            self.rows = Some(self.columns.open(&file)?.into_rows());
        }
    }
}

impl Iterator for Articles {
    type Item = Result<Article, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.row();
        if row.is_err() {
            (self.files, self.rows) = (Vec::new().into_iter(), None);
        }
        row.map(|row| row.map(article)).transpose()
    }
}

/// The article with trimmed lines, and one highlight per line.
fn article(row: Vec<String>) -> Article {
    let mut columns = row.into_iter();
    let (text, highlights) = (columns.next(), columns.next());
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut text = lines(&text.unwrap_or_default()).join("\n");
    text.push('\n');
    Article {
        text,
        highlights: lines(&highlights.unwrap_or_default()),
        domain: None,
    }
}
