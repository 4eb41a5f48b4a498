//! A domain of texts from files: tokens for calibration, and others for measurement.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bsbr_data::dataset::{pieces, wikitext};
use bsbr_data::tokenizer::{Detokenizer, PieceEncoder, TextTokenizer};
use bsbr_data::tokens::TokenWriter;

use crate::corpus::part::TokenSpan;
use crate::corpus::passage::{Counter, Excerpt, Passage, Size, size};
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
    training: TokenSpan,
    /// Tokens of the test texts.
    test: TokenSpan,
    /// Whether the file has more text, which is not read.
    limited: bool,
    /// The documents among the tokens of `test`, without separators.
    documents: Vec<Excerpt>,
    /// The original of the first document of a dataset, whose passages consist of whole documents if
    /// one fits; `None` for a file, whose passages may have any number of tokens.
    first: Option<String>,
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
        let [training, test] = TokenSpan::divide(ids, split..end);
        // From here on positions refer to `test`; a divided document has lost its start.
        documents.retain(|one| one.tokens.end > split);
        for one in &mut documents {
            let (start, end) = (one.tokens.start, one.tokens.end - split);
            if start < split {
                let before = [start..split, 0..end];
                one.size = rest([&training, &test], before, tokenizer, one.size, &scratch)?;
            }
            one.tokens = start.saturating_sub(split)..end;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: stem.into_owned(),
            path: path.to_owned(),
            training,
            test,
            limited,
            documents,
            first: None,
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
            let (mut documents, mut first) = (Vec::new(), None);
            let mut bytes = 0;
            for article in wikitext::Articles::new(files.to_vec(), text) {
                let article = article?;
                let start = ids.len();
                ids.extend(tokenizer.encode(&article.text)?);
                bytes += article.text.len();
                documents.push(Excerpt {
                    tokens: start..ids.len(),
                    size: size(&article.original),
                });
                first.get_or_insert(article.original);
                if bytes > most {
                    break;
                }
            }
            Ok((ids, documents, first.unwrap_or_default()))
        };
        let (training, ..) = read(&dataset.training, TRAINING_BYTES)?;
        let (test, documents, first) = read(&dataset.test, TEXT_BYTES)?;
        Ok(Some(Self {
            name: dataset.spec.label.clone(),
            path: dataset.test.first().cloned().unwrap_or_default(),
            training: training.into(),
            test: test.into(),
            limited: false,
            documents,
            first: Some(first),
        }))
    }

    /// The file, if it has more text than is read.
    pub fn limited(&self) -> Option<&Path> {
        self.limited.then_some(&self.path)
    }

    /// A description of the test texts.
    pub fn describe(&self) -> String {
        let name = &self.name;
        match (&self.first, self.limited) {
            (Some(_), _) => format!("{name}, test split, as people write it"),
            (None, false) => format!("the file {name}, its last four fifths"),
            (None, true) => {
                format!("the file {name}, the last four fifths of its first {LIMIT} of text")
            }
        }
    }

    /// A description of the training texts.
    pub fn describe_training(&self) -> String {
        let name = &self.name;
        match (&self.first, self.limited) {
            (Some(_), _) => format!("{name}, training split"),
            (None, false) => format!("the first fifth of {name}"),
            (None, true) => format!("the first fifth of the first {LIMIT} of {name}"),
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
            false => self.read(start..end),
        }
    }

    /// A range of the test texts.
    fn read(&self, range: Range<usize>) -> Result<Vec<u32>, ReportError> {
        let ids = self.test.read(range);
        ids.map_err(ReportError::reading(&self.path))
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
        let ids = self.read(0..tokens)?;
        let Some(first) = &self.first else {
            let excerpts = begun(tokenizer, &self.documents, &ids)?;
            return Ok(Passage::new(tokenizer, &ids, excerpts));
        };
        let fits = |one: &Excerpt| one.tokens.end <= tokens;
        let mut excerpts = self.documents[..self.documents.partition_point(fits)].to_vec();
        if excerpts.is_empty() {
            let text = tokenizer.decode(&ids)?;
            excerpts.push(Excerpt {
                tokens: 0..ids.len(),
                size: size(beginning(first, text.len())),
            });
        }
        let end = excerpts.last().map_or(0, |last| last.tokens.end);
        Ok(Passage::new(tokenizer, &ids[..end], excerpts))
    }
}

/// The size of the rest of a document, whose first tokens are in another part. A character that is
/// divided counts here, where it ends.
fn rest(
    parts: [&TokenSpan; 2],
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
    ids: &TokenSpan,
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
fn begun(
    tokenizer: &TextTokenizer,
    documents: &[Excerpt],
    ids: &[u32],
) -> Result<Vec<Excerpt>, ReportError> {
    let begun = documents.iter();
    let begun = begun.take_while(|one| one.tokens.start < ids.len());
    let mut begun: Vec<Excerpt> = begun.cloned().collect();
    if let Some(last) = begun.last_mut().filter(|one| one.tokens.end > ids.len()) {
        let text = tokenizer.decode(&ids[last.tokens.start..])?;
        // A character that does not end here does not count.
        last.size = size(text.trim_end_matches(char::REPLACEMENT_CHARACTER));
        last.tokens.end = ids.len();
    }
    Ok(begun)
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
