//! A domain of texts from files: tokens for calibration, and others for measurement.

use std::path::{Path, PathBuf};

use bsbr_data::dataset::{pieces, wikitext};
use bsbr_data::tokenizer::{PieceEncoder, TextTokenizer};

use crate::corpus::passage::{Counter, Extent, Part, Passage, size};
use crate::datasets::{Columns, LocalDataset};
use crate::error::ReportError;
use crate::hash;

/// The inverse share of a file for calibration and token counts: its first fifth.
pub(super) const TRAINING_SHARE: usize = 5;

/// The size limit of text from a file with several texts, or from a dataset's test split, in
/// bytes.
pub(super) const TEXT_BYTES: usize = 64 << 20;

/// The size limit of text from a dataset's training split, in bytes.
const TRAINING_BYTES: usize = 2 << 20;

/// Texts under one name.
#[derive(Debug, Clone)]
pub(super) struct FileDomain {
    pub name: String,
    path: PathBuf,
    /// Tokens that are in no test text.
    pub training: Vec<u32>,
    /// Tokens of the test texts.
    test: Vec<u32>,
    originals: Originals,
}

/// The size of the original texts in words and bytes: the divisor of a perplexity.
#[derive(Debug, Clone)]
enum Originals {
    /// The texts of a file; a passage may have any number of tokens.
    File(Vec<Document>),
    /// The texts of a dataset; a passage consists of whole texts if one fits.
    Dataset {
        /// The end of each document of `test`, and the size of the originals up to it.
        extents: Vec<Extent>,
        /// The original of the first.
        first: String,
    },
}

/// A document among the tokens of a file.
#[derive(Debug, Clone, Copy)]
struct Document {
    /// Its first token, after the end-of-text token that separates it from the previous one.
    start: usize,
    /// The token after its last.
    end: usize,
    words: u64,
    bytes: u64,
}

impl FileDomain {
    /// SHA-256 of the name and of all tokens as read.
    pub fn hash(&self) -> String {
        let ids = self.training.iter().chain(&self.test);
        let bytes = self.name.bytes().chain(ids.flat_map(|id| id.to_le_bytes()));
        hash::of_bytes(&bytes.collect::<Vec<u8>>())
    }

    /// The texts of a file.
    pub fn of_file(tokenizer: &TextTokenizer, path: &Path) -> Result<Self, ReportError> {
        let mut ids = Vec::new();
        let mut documents: Vec<Document> = Vec::new();
        let mut encoder = PieceEncoder::new(tokenizer);
        let mut counter = Counter::default();
        let (mut all, mut start) = (0, 0);
        for piece in pieces(path)? {
            let piece = piece?;
            encoder.push(&piece.text, &mut ids)?;
            counter.add(&piece.text);
            all += piece.text.len();
            let enough = all > TEXT_BYTES;
            if !(piece.last || enough) {
                continue;
            }
            encoder.finish(&mut ids)?;
            let (words, bytes) = std::mem::take(&mut counter).size();
            documents.push(Document {
                start,
                end: ids.len(),
                words,
                bytes,
            });
            if enough {
                break;
            }
            ids.extend(tokenizer.end_of_text_id());
            start = ids.len();
        }
        // The separator before the next document, if there is none.
        ids.truncate(documents.last().map_or(0, |last| last.end));
        let training = ids.len() / TRAINING_SHARE;
        let test = ids.split_off(training);
        // From here on positions refer to `test`; a divided document has lost its start.
        documents.retain(|one| one.end > training);
        let documents = documents.into_iter().map(|one| {
            let whole = one.start >= training;
            let (words, bytes) = match whole {
                true => (one.words, one.bytes),
                false => rest(
                    tokenizer,
                    &ids[one.start..],
                    &test[..one.end - training],
                    &one,
                )?,
            };
            Ok(Document {
                start: one.start.saturating_sub(training),
                end: one.end - training,
                words,
                bytes,
            })
        });
        let documents = documents.collect::<Result<_, ReportError>>()?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: stem.into_owned(),
            path: path.to_owned(),
            training: ids,
            test,
            originals: Originals::File(documents),
        })
    }

    /// The texts of a dataset; `None` if it contains articles.
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
            let mut first = None;
            let mut bytes = 0;
            for article in wikitext::Articles::new(files.to_vec(), text) {
                let article = article?;
                ids.extend(tokenizer.encode(&article.text)?);
                bytes += article.text.len();
                let before = extents.last().copied().unwrap_or_default();
                extents.push(before.and(ids.len(), &article.original));
                first.get_or_insert(article.original);
                if bytes > most {
                    break;
                }
            }
            let first = first.unwrap_or_default();
            Ok((ids, Originals::Dataset { extents, first }))
        };
        let (training, _) = read(&dataset.training, TRAINING_BYTES)?;
        let (test, originals) = read(&dataset.test, TEXT_BYTES)?;
        Ok(Some(Self {
            name: dataset.spec.label.clone(),
            path: dataset.test.first().cloned().unwrap_or_default(),
            training,
            test,
            originals,
        }))
    }

    /// A description of the test texts.
    pub fn describe(&self) -> String {
        match self.originals {
            Originals::File(_) => format!("the file {}, its last four fifths", self.name),
            Originals::Dataset { .. } => format!("{}, test split, as people write it", self.name),
        }
    }

    /// A description of the training texts.
    pub fn describe_training(&self) -> String {
        match self.originals {
            Originals::File(_) => format!("the first fifth of {}", self.name),
            Originals::Dataset { .. } => format!("{}, training split", self.name),
        }
    }

    /// The number of texts of `length` tokens, at most `wanted`.
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

    /// The first documents that fit into `tokens`, or a part of the first.
    pub fn passage(
        &self,
        tokenizer: &TextTokenizer,
        tokens: usize,
    ) -> Result<Passage, ReportError> {
        let most = tokens.min(self.test.len());
        let parts = match &self.originals {
            Originals::File(documents) => of_file(tokenizer, documents, &self.test[..most])?,
            Originals::Dataset { extents, first } => {
                let fitting = extents.partition_point(|extent| extent.tokens <= tokens);
                match fitting {
                    0 => {
                        let text = tokenizer.decode(&self.test[..most])?;
                        let (words, bytes) = size(beginning(first, text.len()));
                        vec![Part {
                            tokens: 0..most,
                            words,
                            bytes,
                        }]
                    }
                    fitting => articles(&extents[..fitting]),
                }
            }
        };
        let end = match &self.originals {
            Originals::File(_) => most,
            Originals::Dataset { .. } => parts.last().map_or(0, |last| last.tokens.end),
        };
        Ok(Passage::new(tokenizer, &self.test[..end], parts))
    }
}

/// Articles, from the end of each and the size of all up to it.
fn articles(extents: &[Extent]) -> Vec<Part> {
    let mut before = Extent::default();
    let parts = extents.iter().map(|&extent| {
        let part = Part {
            tokens: before.tokens..extent.tokens,
            words: extent.words - before.words,
            bytes: extent.bytes - before.bytes,
        };
        before = extent;
        part
    });
    parts.collect()
}

/// The size of the rest of a document, whose first tokens are elsewhere. A character that is
/// divided counts here, where it ends.
fn rest(
    tokenizer: &TextTokenizer,
    before: &[u32],
    ids: &[u32],
    document: &Document,
) -> Result<(u64, u64), ReportError> {
    let (words, bytes) = size(&tokenizer.decode(ids)?);
    let first = tokenizer.decode(before)?;
    let whole = first.trim_end_matches(char::REPLACEMENT_CHARACTER);
    match whole.len() == first.len() {
        true => Ok((words, bytes)),
        false => Ok((words, document.bytes.saturating_sub(whole.len() as u64))),
    }
}

/// The documents that begin in `ids`, as far as they are in it.
fn of_file(
    tokenizer: &TextTokenizer,
    documents: &[Document],
    ids: &[u32],
) -> Result<Vec<Part>, ReportError> {
    let begun = documents.iter().take_while(|one| one.start < ids.len());
    let parts = begun.map(|document| {
        let (words, bytes) = match document.end <= ids.len() {
            true => (document.words, document.bytes),
            false => {
                let text = tokenizer.decode(&ids[document.start..])?;
                // A character that does not end here does not count.
                size(text.trim_end_matches(char::REPLACEMENT_CHARACTER))
            }
        };
        Ok(Part {
            tokens: document.start..document.end.min(ids.len()),
            words,
            bytes,
        })
    });
    parts.collect()
}

/// The start of an article as normal text, at most `length` bytes, up to the end of a word.
fn beginning(original: &str, length: usize) -> &str {
    let ends: Vec<usize> = original
        .split_whitespace()
        .map(|word| word.as_ptr() as usize - original.as_ptr() as usize + word.len())
        .collect();
    let fitting = ends.partition_point(|&end| {
        let text = wikitext::detokenised(&original[..end]);
        text.trim_end().len() <= length
    });
    &original[..fitting.checked_sub(1).map_or(0, |last| ends[last])]
}
