//! A domain of texts from files: tokens for calibration, and others for measurement.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bsbr_data::dataset::{pieces, wikitext};
use bsbr_data::tokenizer::{Detokenizer, PieceEncoder, TextTokenizer};
use bsbr_data::tokens::TokenWriter;

use crate::corpus::part::Part;
use crate::corpus::passage::{Counter, Excerpt, Extent, Passage, Size, size};
use crate::datasets::{Columns, LocalDataset};
use crate::error::ReportError;
use crate::hash;

/// The inverse share of a file for calibration and token counts: its first fifth.
pub(super) const TRAINING_SHARE: usize = 5;

/// The size limit of text from a file, or from a dataset's test split, in bytes.
pub(super) const TEXT_BYTES: usize = 64 << 20;

/// The size limit of text from a file, for people.
pub const LIMIT: &str = "64 MiB";

/// The size limit of text from a dataset's training split, in bytes.
const TRAINING_BYTES: usize = 2 << 20;

/// Texts under one name.
#[derive(Debug, Clone)]
pub(super) struct FileDomain {
    pub name: String,
    path: PathBuf,
    /// Tokens that are in no test text.
    training: Part,
    /// Tokens of the test texts.
    test: Part,
    /// Whether the file has more text, which is not read.
    limited: bool,
    originals: Originals,
}

/// The size of the original texts in words and bytes: the divisor of a perplexity.
#[derive(Debug, Clone)]
enum Originals {
    /// The texts of a file; a passage may have any number of tokens.
    File(Vec<Excerpt>),
    /// The texts of a dataset; a passage consists of whole texts if one fits.
    Dataset {
        /// The end of each document of `test`, and the size of the originals up to it.
        extents: Vec<Extent>,
        /// The original of the first.
        first: String,
    },
}

impl FileDomain {
    /// SHA-256 of the name and of all tokens as read.
    pub fn hash(&self) -> Result<String, ReportError> {
        let parts = [&self.training, &self.test].into_iter();
        let ids = parts.flat_map(|part| part.blocks(0..part.len()));
        let bytes = ids.map(|ids| Ok(ids?.into_iter().flat_map(u32::to_le_bytes).collect()));
        let name = std::iter::once(Ok(self.name.clone().into_bytes()));
        hash::of_parts(name.chain(bytes)).map_err(ReportError::reading(&self.path))
    }

    /// The texts of a file, up to [`TEXT_BYTES`]. Many tokens are in a temporary file.
    pub fn of_file(tokenizer: &TextTokenizer, path: &Path) -> Result<Self, ReportError> {
        let scratch = std::env::temp_dir();
        let mut ids = TokenWriter::new(&scratch);
        // Without the end-of-text tokens that separate them.
        let mut documents: Vec<Excerpt> = Vec::new();
        let mut encoder = PieceEncoder::new(tokenizer);
        let mut counter = Counter::default();
        let (mut all, mut start, mut limited) = (0, 0, false);
        let mut texts = pieces(path)?;
        while let Some(piece) = texts.next() {
            let piece = piece?;
            encoder.push(&piece.text, ids.ids())?;
            ids.settle().map_err(ReportError::reading(&scratch))?;
            counter.add(&piece.text);
            all += piece.text.len();
            let enough = all > TEXT_BYTES;
            if !(piece.last || enough) {
                continue;
            }
            encoder.finish(ids.ids())?;
            documents.push(Excerpt {
                tokens: start..ids.len(),
                size: std::mem::take(&mut counter).size(),
            });
            if enough {
                limited = !piece.last || texts.next().is_some();
                break;
            }
            ids.ids().extend(tokenizer.end_of_text_id());
            start = ids.len();
        }
        let ids = ids.finish().map_err(ReportError::reading(&scratch))?;
        // Without the separator before the next document, if there is none.
        let end = documents.last().map_or(0, |last| last.tokens.end);
        let split = end / TRAINING_SHARE;
        let [training, test] = Part::divide(ids, split..end);
        // From here on positions refer to `test`; a divided document has lost its start.
        documents.retain(|one| one.tokens.end > split);
        let documents = documents.into_iter().map(|one| {
            let Range { start, end } = one.tokens;
            let size = match start >= split {
                true => one.size,
                false => {
                    let before = [start..split, 0..end - split];
                    rest([&training, &test], before, tokenizer, one.size, &scratch)?
                }
            };
            Ok(Excerpt {
                tokens: start.saturating_sub(split)..end - split,
                size,
            })
        });
        let documents = documents.collect::<Result<_, ReportError>>()?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: stem.into_owned(),
            path: path.to_owned(),
            training,
            test,
            limited,
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
            training: training.into(),
            test: test.into(),
            limited: false,
            originals,
        }))
    }

    /// The file, if it has more text than is read.
    pub fn limited(&self) -> Option<&Path> {
        self.limited.then_some(&self.path)
    }

    /// A description of the test texts.
    pub fn describe(&self) -> String {
        let name = &self.name;
        match (&self.originals, self.limited) {
            (Originals::File(_), false) => format!("the file {name}, its last four fifths"),
            (Originals::File(_), true) => {
                format!("the file {name}, the last four fifths of its first {LIMIT} of text")
            }
            (Originals::Dataset { .. }, _) => format!("{name}, test split, as people write it"),
        }
    }

    /// A description of the training texts.
    pub fn describe_training(&self) -> String {
        let name = &self.name;
        match (&self.originals, self.limited) {
            (Originals::File(_), false) => format!("the first fifth of {name}"),
            (Originals::File(_), true) => format!("the first fifth of the first {LIMIT} of {name}"),
            (Originals::Dataset { .. }, _) => format!("{name}, training split"),
        }
    }

    /// Text `index` of at most `length` tokens that are in no test text; `None` after the last.
    pub fn training(&self, index: usize, length: usize) -> Result<Option<Vec<u32>>, ReportError> {
        let length = length.max(1);
        let start = index.saturating_mul(length);
        let ids = self.training.read(start..start.saturating_add(length));
        let ids = ids.map_err(ReportError::reading(&self.path))?;
        Ok((!ids.is_empty()).then_some(ids))
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
        match end > self.test.len() {
            true => Err(self.too_short(length, end)),
            false => self
                .test
                .read(start..end)
                .map_err(ReportError::reading(&self.path)),
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
        let ids = self
            .test
            .read(0..tokens)
            .map_err(ReportError::reading(&self.path))?;
        let excerpts = match &self.originals {
            Originals::File(documents) => of_file(tokenizer, documents, &ids)?,
            Originals::Dataset { extents, first } => {
                let fitting = extents.partition_point(|extent| extent.tokens <= tokens);
                match fitting {
                    0 => {
                        let text = tokenizer.decode(&ids)?;
                        vec![Excerpt {
                            tokens: 0..ids.len(),
                            size: size(beginning(first, text.len())),
                        }]
                    }
                    fitting => articles(&extents[..fitting]),
                }
            }
        };
        let end = match &self.originals {
            Originals::File(_) => ids.len(),
            Originals::Dataset { .. } => excerpts.last().map_or(0, |last| last.tokens.end),
        };
        Ok(Passage::new(tokenizer, &ids[..end], excerpts))
    }
}

/// Articles, from the end of each and the size of all up to it.
fn articles(extents: &[Extent]) -> Vec<Excerpt> {
    let mut before = Extent::default();
    let excerpts = extents.iter().map(|&extent| {
        let excerpt = Excerpt {
            tokens: before.tokens..extent.tokens,
            size: (extent.words - before.words, extent.bytes - before.bytes),
        };
        before = extent;
        excerpt
    });
    excerpts.collect()
}

/// The size of the rest of a document, whose first tokens are in another part. A character that is
/// divided counts here, where it ends.
fn rest(
    parts: [&Part; 2],
    ranges: [Range<usize>; 2],
    tokenizer: &TextTokenizer,
    whole: Size,
    folder: &Path,
) -> Result<Size, ReportError> {
    let [first, second] = parts;
    let [before, after] = ranges;
    let (words, bytes, _) = decoded(second, after, tokenizer, folder)?;
    let (_, elsewhere, divided) = decoded(first, before, tokenizer, folder)?;
    match divided {
        true => Ok((words, whole.1.saturating_sub(elsewhere))),
        false => Ok((words, bytes)),
    }
}

/// Words and bytes of tokens, which are decoded in blocks, and whether a character is divided at
/// their end; such a character does not count.
fn decoded(
    ids: &Part,
    range: Range<usize>,
    tokenizer: &TextTokenizer,
    folder: &Path,
) -> Result<(u64, u64, bool), ReportError> {
    let mut counter = Counter::default();
    let mut text = Detokenizer::new(tokenizer, &[]);
    for block in ids.blocks(range) {
        counter.add(&text.extend(&block.map_err(ReportError::reading(folder))?)?);
    }
    let end = text.finish()?;
    let whole = end.trim_end_matches(char::REPLACEMENT_CHARACTER);
    counter.add(whole);
    let (words, bytes) = counter.size();
    Ok((words, bytes, whole.len() < end.len()))
}

/// The documents that begin in `ids`, as far as they are in it.
fn of_file(
    tokenizer: &TextTokenizer,
    documents: &[Excerpt],
    ids: &[u32],
) -> Result<Vec<Excerpt>, ReportError> {
    let begun = documents
        .iter()
        .take_while(|one| one.tokens.start < ids.len());
    let excerpts = begun.map(|document| {
        let Range { start, end } = document.tokens;
        if end <= ids.len() {
            return Ok(document.clone());
        }
        let text = tokenizer.decode(&ids[start..])?;
        Ok(Excerpt {
            tokens: start..ids.len(),
            // A character that does not end here does not count.
            size: size(text.trim_end_matches(char::REPLACEMENT_CHARACTER)),
        })
    });
    excerpts.collect()
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
