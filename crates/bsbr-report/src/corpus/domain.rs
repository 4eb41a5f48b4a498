//! A domain of texts from files: tokens to calibrate on, and others to measure on.

use std::path::{Path, PathBuf};

use bsbr_data::dataset::{documents, wikitext};
use bsbr_data::tokenizer::TextTokenizer;

use crate::corpus::passage::{Extent, Passage};
use crate::datasets::{Columns, LocalDataset};
use crate::error::ReportError;

/// The part of a file that is kept for calibration and for counting tokens: its first fifth.
pub(super) const TRAINING_SHARE: usize = 5;

/// The most bytes of text that are taken of a file of several texts, or of a dataset's test split.
pub(super) const TEXT_BYTES: usize = 64 << 20;

/// Bytes of text that are taken of a dataset's training split.
const TRAINING_BYTES: usize = 2 << 20;

/// Texts under one name.
#[derive(Debug, Clone)]
pub(super) struct FileDomain {
    pub name: String,
    path: PathBuf,
    /// Tokens that no text holds.
    pub training: Vec<u32>,
    /// Tokens that texts are cut from.
    test: Vec<u32>,
    /// Where each document of `test` ends, and what the original of all up to there holds; empty
    /// where a text is its own original.
    extents: Vec<Extent>,
}

impl FileDomain {
    /// The texts of a file.
    pub fn of_file(tokenizer: &TextTokenizer, path: &Path) -> Result<Self, ReportError> {
        let mut ids = Vec::new();
        let mut bytes = 0;
        for document in documents(path)? {
            let text = document?;
            ids.extend(match bytes {
                0 => tokenizer.encode(&text)?,
                _ => tokenizer.encode_document(&text)?,
            });
            bytes += text.len();
            if bytes > TEXT_BYTES {
                break;
            }
        }
        let test = ids.split_off(ids.len() / TRAINING_SHARE);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: stem.into_owned(),
            path: path.to_owned(),
            training: ids,
            test,
            extents: Vec::new(),
        })
    }

    /// The texts of a dataset; `None` where it is one of articles.
    pub fn of_dataset(
        tokenizer: &TextTokenizer,
        dataset: &LocalDataset,
    ) -> Result<Option<Self>, ReportError> {
        let Columns::Lines { text } = &dataset.spec.columns else {
            return Ok(None);
        };
        let read = |files: &[PathBuf], most: usize| -> Result<_, ReportError> {
            let mut ids = Vec::new();
            let mut extents: Vec<Extent> = Vec::new();
            let mut bytes = 0;
            for article in wikitext::Articles::new(files.to_vec(), text) {
                let article = article?;
                ids.extend(tokenizer.encode(&article.text)?);
                bytes += article.text.len();
                let before = extents.last().copied().unwrap_or_default();
                extents.push(before.and(ids.len(), &article.original));
                if bytes > most {
                    break;
                }
            }
            Ok((ids, extents))
        };
        let (training, _) = read(&dataset.training, TRAINING_BYTES)?;
        let (test, extents) = read(&dataset.test, TEXT_BYTES)?;
        Ok(Some(Self {
            name: dataset.spec.label.clone(),
            path: dataset.test.first().cloned().unwrap_or_default(),
            training,
            test,
            extents,
        }))
    }

    /// What texts are cut from, in words.
    pub fn describe(&self) -> String {
        match self.extents.is_empty() {
            true => format!("the file {}, its last four fifths", self.name),
            false => format!("{}, test split, as people write it", self.name),
        }
    }

    /// What is never a text, in words.
    pub fn describe_training(&self) -> String {
        match self.extents.is_empty() {
            true => format!("the first fifth of {}", self.name),
            false => format!("{}, training split", self.name),
        }
    }

    /// How many texts of `length` tokens there are, at most `wanted`.
    pub fn available(&self, length: usize, wanted: u64) -> Result<u64, ReportError> {
        match (self.test.len() / length.max(1)) as u64 {
            0 => Err(self.too_short(length, length)),
            count => Ok(count.min(wanted)),
        }
    }

    /// Text `index` of `length` tokens.
    pub fn text(&self, index: u64, length: usize) -> Result<Vec<u32>, ReportError> {
        let start = (index as usize).saturating_mul(length);
        let end = start.saturating_add(length);
        match self.test.get(start..end) {
            Some(ids) => Ok(ids.to_vec()),
            None => Err(self.too_short(length, end)),
        }
    }

    fn too_short(&self, length: usize, needed: usize) -> ReportError {
        ReportError::ShortText {
            path: self.path.clone(),
            found: self.test.len(),
            needed,
            length,
        }
    }

    /// The first documents, as many as fit into `tokens`, or as much of the first.
    pub fn passage(
        &self,
        tokenizer: &TextTokenizer,
        tokens: usize,
    ) -> Result<Passage, ReportError> {
        let mut fitting = self.extents.iter().rev();
        if let Some(extent) = fitting.find(|extent| extent.tokens <= tokens) {
            return Ok(Passage::new(
                tokenizer,
                &self.test[..extent.tokens],
                *extent,
            ));
        }
        let ids = &self.test[..tokens.min(self.test.len())];
        let extent = Extent::default().and(ids.len(), &tokenizer.decode(ids)?);
        Ok(Passage::new(tokenizer, ids, extent))
    }
}
