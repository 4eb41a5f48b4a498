//! What the models read: storybook, text files, or ids without meaning.

use std::path::{Path, PathBuf};

use bsbr_data::corpus::random_ids;
use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_train::finetune::Dataset;

use crate::error::ReportError;
use crate::hash;

/// The part of a file that is kept for calibration and for counting tokens: its first fifth.
const TRAINING_SHARE: usize = 5;

/// Where texts come from.
#[derive(Debug, Clone)]
enum Source {
    Storybook,
    Files(Vec<TextFile>),
}

#[derive(Debug, Clone)]
struct TextFile {
    name: String,
    path: PathBuf,
    ids: Vec<u32>,
}

impl TextFile {
    /// What is kept for calibration, for choices and for counting tokens.
    fn training(&self) -> &[u32] {
        &self.ids[..self.ids.len() / TRAINING_SHARE]
    }
}

/// Texts by domain, as tokens of one tokenizer.
#[derive(Debug, Clone)]
pub struct Corpus {
    tokenizer: TextTokenizer,
    source: Source,
    hash: String,
}

impl Corpus {
    /// The test split of storybook, and its training split for calibration.
    ///
    /// # Errors
    ///
    /// [`ReportError::Tokenizer`] where the tokenizer cannot encode it.
    pub fn storybook(tokenizer: TextTokenizer) -> Result<Self, ReportError> {
        // A sample of the generator's output: other words make other records.
        let mut sample = Vec::new();
        for domain in Domain::ALL {
            let text = Storybook::new(0).plain(Split::Test, domain, 0, 300).text;
            for id in tokenizer.encode_document(&text)? {
                sample.extend_from_slice(&id.to_le_bytes());
            }
        }
        Ok(Self {
            tokenizer,
            source: Source::Storybook,
            hash: hash::of_bytes(&sample),
        })
    }

    /// Text files, each a domain of its own.
    ///
    /// The first fifth of each file is for calibration and for counting tokens; the rest is cut
    /// into texts.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where a file cannot be read or encoded.
    pub fn files(tokenizer: TextTokenizer, paths: &[PathBuf]) -> Result<Self, ReportError> {
        let mut files: Vec<TextFile> = Vec::with_capacity(paths.len());
        for path in paths {
            let ids = tokenizer.encode(&crate::spec::read(path)?)?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let same = files.iter().filter(|file| file.name == stem).count();
            let name = match same {
                0 => stem.into_owned(),
                count => format!("{stem} {}", count + 1),
            };
            files.push(TextFile {
                name,
                path: path.clone(),
                ids,
            });
        }
        Ok(Self {
            tokenizer,
            source: Source::Files(files),
            hash: hash::of_files(paths)?,
        })
    }

    /// Hash of the texts.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// What the texts are, in words.
    pub fn describe(&self) -> String {
        match &self.source {
            Source::Storybook => "storybook, test split, one document a text".to_owned(),
            Source::Files(files) => {
                let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
                format!("files: {}; the last four fifths of each", names.join(", "))
            }
        }
    }

    /// What calibration and token counts are taken from, in words.
    pub fn describe_training(&self) -> String {
        match &self.source {
            Source::Storybook => "storybook, training split".to_owned(),
            Source::Files(_) => "the first fifth of each file".to_owned(),
        }
    }

    /// What choices are made on, in words.
    pub fn describe_development(&self) -> String {
        match &self.source {
            Source::Storybook => "storybook, validation split".to_owned(),
            Source::Files(_) => self.describe_training(),
        }
    }

    /// The domains.
    pub fn domains(&self) -> Vec<String> {
        match &self.source {
            Source::Storybook => Domain::ALL
                .iter()
                .map(|one| name(*one).to_owned())
                .collect(),
            Source::Files(files) => files.iter().map(|file| file.name.clone()).collect(),
        }
    }

    /// How many texts of `length` tokens a domain has, at most `wanted`.
    ///
    /// # Errors
    ///
    /// [`ReportError::ShortText`] where a file has none.
    pub fn available(&self, domain: &str, length: usize, wanted: u64) -> Result<u64, ReportError> {
        let Source::Files(files) = &self.source else {
            return Ok(wanted);
        };
        let found = files.iter().find(|file| file.name == domain);
        let Some(file) = found else {
            return Ok(0);
        };
        let test = file.ids.len() - file.ids.len() / TRAINING_SHARE;
        match (test / length.max(1)) as u64 {
            0 => Err(ReportError::ShortText {
                path: file.path.clone(),
                found: file.ids.len(),
                needed: length.div_ceil(TRAINING_SHARE - 1) * TRAINING_SHARE,
                length,
            }),
            count => Ok(count.min(wanted)),
        }
    }

    /// Text `index` of a domain, `length` tokens from its beginning.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where it cannot be encoded or there is no such text.
    pub fn text(
        &self,
        seed: u64,
        domain: &str,
        index: u64,
        length: usize,
    ) -> Result<Vec<u32>, ReportError> {
        match &self.source {
            Source::Storybook => {
                let domain = Domain::ALL.into_iter().find(|one| name(*one) == domain);
                let domain = domain.unwrap_or_default();
                self.document(seed, Split::Test, domain, index, length)
            }
            Source::Files(files) => {
                let file = files.iter().find(|file| file.name == domain);
                let ids = file.map(|file| {
                    let start = file.ids.len() / TRAINING_SHARE + index as usize * length;
                    file.ids.get(start..start + length).map(<[u32]>::to_vec)
                });
                ids.flatten().ok_or_else(|| ReportError::ShortText {
                    path: file.map_or_else(|| PathBuf::from(domain), |file| file.path.clone()),
                    found: file.map_or(0, |file| file.ids.len()),
                    needed: (index as usize + 2) * length,
                    length,
                })
            }
        }
    }

    /// About `tokens` tokens that no test text contains, as texts of at most `length` tokens that
    /// take turns between the domains.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where they cannot be encoded.
    pub fn training(
        &self,
        seed: u64,
        tokens: usize,
        length: usize,
    ) -> Result<Vec<Vec<u32>>, ReportError> {
        let count = tokens.div_ceil(length.max(1));
        match &self.source {
            Source::Storybook => (0..count)
                .map(|at| {
                    let domain = Domain::ALL[at % Domain::ALL.len()];
                    let index = (at / Domain::ALL.len()) as u64;
                    self.document(seed, Split::Train, domain, index, length)
                })
                .collect(),
            Source::Files(files) => {
                let share = count.div_ceil(files.len().max(1));
                let pieces = files
                    .iter()
                    .flat_map(|file| file.training().chunks(length.max(1)).take(share));
                Ok(pieces.map(<[u32]>::to_vec).collect())
            }
        }
    }

    /// `count` texts of at most `length` tokens to make choices on, which take turns between the
    /// domains; no test text contains any of them. Of files there may be fewer.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where they cannot be encoded.
    pub fn development(
        &self,
        seed: u64,
        count: u64,
        length: usize,
    ) -> Result<Vec<Vec<u32>>, ReportError> {
        let count = count as usize;
        match &self.source {
            Source::Storybook => (0..count)
                .map(|at| {
                    let domain = Domain::ALL[at % Domain::ALL.len()];
                    let index = (at / Domain::ALL.len()) as u64;
                    self.document(seed, Split::Validation, domain, index, length)
                })
                .collect(),
            Source::Files(files) => {
                let piece = |at: usize| {
                    let file = files.get(at % files.len().max(1))?;
                    let mut pieces = file.training().chunks(length.max(1));
                    pieces.nth(at / files.len().max(1)).map(<[u32]>::to_vec)
                };
                Ok((0..count).filter_map(piece).collect())
            }
        }
    }

    /// `windows` windows of `window` tokens to fine-tune on, which no test text contains, and
    /// `held_out` to validate on; of files as many as there are.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where they cannot be encoded, or there is not one.
    pub fn windows(
        &self,
        seed: u64,
        window: usize,
        windows: u64,
        held_out: u64,
    ) -> Result<Dataset, ReportError> {
        let tokenizer = &self.tokenizer;
        Ok(match &self.source {
            Source::Storybook => Dataset::storybook(tokenizer, seed, window, windows, held_out)?,
            Source::Files(_) => {
                let tokens = (windows + held_out) as usize * window;
                let texts = self.training(seed, tokens, window)?;
                Dataset::tokens(texts.concat(), window, self.describe_training())?
            }
        })
    }

    fn document(
        &self,
        seed: u64,
        split: Split,
        domain: Domain,
        index: u64,
        length: usize,
    ) -> Result<Vec<u32>, ReportError> {
        // A word is at least a token.
        let text = Storybook::new(seed)
            .plain(split, domain, index, length)
            .text;
        let mut ids = self.tokenizer.encode_document(&text)?;
        if ids.len() < length {
            return Err(ReportError::ShortText {
                path: PathBuf::from(name(domain)),
                found: ids.len(),
                needed: length,
                length,
            });
        }
        ids.truncate(length);
        Ok(ids)
    }
}

/// Ids without meaning, uniform over the vocabulary.
pub fn random(seed: u64, index: u64, vocabulary: usize, length: usize) -> Vec<u32> {
    let seed = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random_ids(seed, u32::try_from(vocabulary).unwrap_or(u32::MAX), length)
}

fn name(domain: Domain) -> &'static str {
    match domain {
        Domain::Tale => "tale",
        Domain::News => "news",
        Domain::Dialogue => "dialogue",
        Domain::Procedure => "procedure",
        Domain::Ledger => "ledger",
    }
}

/// The files of a model folder that decide what it is.
pub fn model_files(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let listing = std::fs::read_dir(folder).map_err(|source| ReportError::Read {
        path: folder.to_owned(),
        source,
    })?;
    let ends = ["safetensors", "bin", "json", "txt"];
    let mut paths: Vec<PathBuf> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|end| ends.iter().any(|one| end == *one))
        })
        .collect();
    paths.sort();
    Ok(paths)
}
