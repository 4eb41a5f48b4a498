//! The input of models: storybook, text files, datasets, or random ids.

mod domain;
mod part;
mod passage;

use std::path::{Path, PathBuf};

use bsbr_data::article::Article;
use bsbr_data::corpus::random_ids;
use bsbr_data::dataset::cnn_dailymail;
use bsbr_data::storybook::{Domain, Split, Storybook, VERSION};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_train::finetune::{Dataset, Mix};

use crate::datasets::{Columns, LocalDataset, STORYBOOK};
use crate::error::ReportError;
use crate::experiment::in_file_name;
use crate::hash;
use crate::spec::{files, spec_error};
use domain::FileDomain;

use passage::{Excerpt, size};

pub use domain::LIMIT as FILE_LIMIT;
pub use passage::{Extent, Passage};

/// Words of a storybook document in a [`Passage`].
const PASSAGE_WORDS: usize = 700;

/// The sources of texts and articles; the default of both is storybook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// Text files, each a separate domain.
    pub files: Vec<PathBuf>,
    /// Datasets: of texts, each a separate domain, or of articles, at most one.
    pub datasets: Vec<LocalDataset>,
}

/// The source of articles for summarisation.
#[derive(Debug, Clone)]
struct News {
    name: String,
    files: Vec<PathBuf>,
    columns: cnn_dailymail::Columns,
}

/// Texts by domain, as tokens of one tokenizer, and articles.
#[derive(Debug, Clone)]
pub struct Corpus {
    tokenizer: TextTokenizer,
    /// Empty for storybook.
    files: Vec<FileDomain>,
    news: Option<News>,
    hash: String,
}

impl Corpus {
    /// The test split of storybook, and its training split for calibration.
    ///
    /// # Errors
    ///
    /// [`ReportError::Tokenizer`] if the tokenizer cannot encode it.
    pub fn storybook(tokenizer: TextTokenizer) -> Result<Self, ReportError> {
        // A sample stands for all texts: its seed is the version, so that a different generator
        // gives a different hash even if it writes the same sample.
        let mut sample = Vec::new();
        for domain in Domain::ALL {
            let text = Storybook::new(VERSION)
                .plain(Split::Test, domain, 0, 300)
                .text;
            for id in tokenizer.encode_document(&text)? {
                sample.extend_from_slice(&id.to_le_bytes());
            }
        }
        Ok(Self {
            tokenizer,
            files: Vec::new(),
            news: None,
            hash: hash::of_bytes(&sample),
        })
    }

    /// Text files, each a separate domain.
    ///
    /// The first fifth of each file is for calibration and token counts; the rest is divided into
    /// texts. Of a file with more than [`FILE_LIMIT`] of text, only the first of it are read.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if a file cannot be read or encoded.
    pub fn files(tokenizer: TextTokenizer, paths: &[PathBuf]) -> Result<Self, ReportError> {
        let texts = Texts {
            files: paths.to_vec(),
            datasets: Vec::new(),
        };
        Self::open(tokenizer, &texts)
    }

    /// The texts and articles of `texts`; storybook by default.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if a file cannot be read or encoded, or there are two datasets of articles.
    pub fn open(tokenizer: TextTokenizer, texts: &Texts) -> Result<Self, ReportError> {
        let mut corpus = Self::storybook(tokenizer)?;
        let files = texts.files.iter();
        let domains = files.map(|path| FileDomain::of_file(&corpus.tokenizer, path));
        let mut domains = domains.collect::<Result<Vec<_>, _>>()?;
        let mut hashes: Vec<String> = Vec::new();
        for dataset in &texts.datasets {
            domains.extend(FileDomain::of_dataset(&corpus.tokenizer, dataset)?);
            let Some(news) = News::of(dataset) else {
                continue;
            };
            if let Some(other) = &corpus.news {
                return Err(ReportError::TwoOfArticles {
                    first: other.name.clone(),
                    second: news.name,
                });
            }
            // Articles are read later, from files that do not change.
            hashes.push(hash::of_files(&news.files)?);
            corpus.news = Some(news);
        }
        if domains.is_empty() {
            hashes.insert(0, corpus.hash);
        } else {
            make_names_unique(&mut domains);
            for domain in &domains {
                hashes.push(domain.hash()?);
            }
            corpus.files = domains;
        }
        corpus.hash = match hashes.as_slice() {
            [one] => one.clone(),
            all => hash::of_bytes(all.concat().as_bytes()),
        };
        Ok(corpus)
    }

    /// Hash of the texts.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether texts are from storybook, which has no limit.
    pub fn is_storybook(&self) -> bool {
        self.files.is_empty()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// A description of the texts.
    pub fn describe(&self) -> String {
        let texts = self.described("test split, one document a text", FileDomain::describe);
        match &self.news {
            None => texts,
            Some(news) => format!("{texts}; articles of {}, test split", news.name),
        }
    }

    /// A description of the texts for calibration and token counts.
    pub fn describe_training(&self) -> String {
        self.described("training split", FileDomain::describe_training)
    }

    /// A description of the texts for choices.
    pub fn describe_development(&self) -> String {
        self.described("validation split", FileDomain::describe_training)
    }

    /// A part of storybook, or of each domain of files.
    fn described(&self, part: &str, of: fn(&FileDomain) -> String) -> String {
        match self.is_storybook() {
            true => format!("storybook, {part}"),
            false => Vec::from_iter(self.files.iter().map(of)).join("; "),
        }
    }

    /// The files of which only the first [`FILE_LIMIT`] of text are used.
    pub fn limited(&self) -> Vec<&Path> {
        self.files.iter().filter_map(FileDomain::limited).collect()
    }

    /// The domains.
    pub fn domains(&self) -> Vec<String> {
        match self.is_storybook() {
            true => Domain::ALL.map(name).to_vec(),
            false => self.files.iter().map(|file| file.name.clone()).collect(),
        }
    }

    /// The number of texts of `length` tokens in a domain, at most `wanted`.
    ///
    /// # Errors
    ///
    /// [`ReportError::ShortText`] if a file has none, and [`ReportError::NoDomain`].
    pub fn available(&self, domain: &str, length: usize, wanted: u64) -> Result<u64, ReportError> {
        match self.domain(domain)? {
            Some(domain) => domain.available(length, wanted),
            None => Ok(wanted),
        }
    }

    /// A domain of files or datasets; `None` for storybook.
    fn domain(&self, name: &str) -> Result<Option<&FileDomain>, ReportError> {
        if self.is_storybook() {
            return Ok(None);
        }
        let found = self.files.iter().find(|one| one.name == name);
        let missing = || ReportError::NoDomain {
            name: name.to_owned(),
        };
        found.map(Some).ok_or_else(missing)
    }

    /// The first `length` tokens of text `index` of a domain.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be encoded or does not exist.
    pub fn text(
        &self,
        seed: u64,
        domain: &str,
        index: u64,
        length: usize,
    ) -> Result<Vec<u32>, ReportError> {
        match self.domain(domain)? {
            Some(domain) => domain.text(index, length),
            None => self.document(seed, Split::Test, named(domain), index, length),
        }
    }

    /// About `tokens` tokens of a domain for perplexity: the first documents of its test split that
    /// fit, or a part of the first.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if they cannot be encoded.
    pub fn passage(&self, seed: u64, domain: &str, tokens: usize) -> Result<Passage, ReportError> {
        if let Some(domain) = self.domain(domain)? {
            return domain.passage(&self.tokenizer, tokens);
        }
        let book = Storybook::new(seed);
        let mut ids: Vec<u32> = Vec::new();
        let mut parts: Vec<Excerpt> = Vec::new();
        for index in 0.. {
            let text = book
                .plain(Split::Test, named(domain), index, PASSAGE_WORDS)
                .text;
            let (next, separator) = match ids.is_empty() {
                true => (self.tokenizer.encode(&text)?, None),
                false => (
                    self.tokenizer.encode_document(&text)?,
                    self.tokenizer.end_of_text_id(),
                ),
            };
            if !ids.is_empty() && ids.len() + next.len() > tokens || next.is_empty() {
                break;
            }
            let start = ids.len() + usize::from(separator.is_some());
            ids.extend(next);
            parts.push(Excerpt {
                tokens: start..ids.len(),
                size: size(&text),
            });
        }
        Ok(Passage::new(&self.tokenizer, &ids, parts))
    }

    /// The name of articles in records.
    pub fn articles_name(&self) -> String {
        let name = self.news.as_ref().map_or(STORYBOOK, |news| &news.name);
        format!("{name} articles")
    }

    /// The number of articles, at most `wanted`.
    ///
    /// # Errors
    ///
    /// [`ReportError::Dataset`] if a file of them is invalid.
    pub fn articles(&self, wanted: u64) -> Result<u64, ReportError> {
        match &self.news {
            None => Ok(wanted),
            Some(news) => Ok(wanted.min(cnn_dailymail::count(&news.files, &news.columns)?)),
        }
    }

    /// Article `index` of the test split, with its highlights.
    ///
    /// # Errors
    ///
    /// [`ReportError::Dataset`] if it cannot be read, and [`ReportError::Spec`] if it does not exist.
    pub fn article(&self, seed: u64, index: u64) -> Result<Article, ReportError> {
        let Some(news) = &self.news else {
            return Ok(Storybook::new(seed).article(Split::Test, index));
        };
        let mut articles = cnn_dailymail::Articles::new(news.files.clone(), news.columns.clone());
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let missing = || {
            let path = news.files.first().cloned().unwrap_or_default();
            spec_error(
                &path,
                format!("no article {index}; the file changed while it was read"),
            )
        };
        Ok(articles.nth(place).ok_or_else(missing)??)
    }

    /// About `tokens` tokens that are in no test text, as texts of at most `length` tokens from the
    /// domains in turn.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if they cannot be encoded.
    pub fn training(
        &self,
        seed: u64,
        tokens: usize,
        length: usize,
    ) -> Result<Vec<Vec<u32>>, ReportError> {
        let count = tokens.div_ceil(length.max(1));
        if self.is_storybook() {
            return self.documents(seed, Split::Train, count, length);
        }
        let share = count.div_ceil(self.files.len());
        let pieces = self
            .files
            .iter()
            .flat_map(|file| (0..share).map_while(move |at| file.training(at, length).transpose()));
        pieces.collect()
    }

    /// `count` texts of at most `length` tokens for choices, from the domains in turn; none is in a
    /// test text. Files may have fewer.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if they cannot be encoded.
    pub fn development(
        &self,
        seed: u64,
        count: u64,
        length: usize,
    ) -> Result<Vec<Vec<u32>>, ReportError> {
        let count = count as usize;
        if self.is_storybook() {
            return self.documents(seed, Split::Validation, count, length);
        }
        let turns = self.files.len();
        let piece = |at: usize| {
            self.files[at % turns]
                .training(at / turns, length)
                .transpose()
        };
        (0..count).filter_map(piece).collect()
    }

    /// `windows` windows of `window` tokens for fine-tuning, which are in no test text, and
    /// `held_out` for validation; files may have fewer. `mix` is that of storybook.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if they cannot be encoded, or there are none.
    pub fn windows(
        &self,
        mix: Mix,
        seed: u64,
        window: usize,
        windows: u64,
        held_out: u64,
    ) -> Result<Dataset, ReportError> {
        if self.is_storybook() {
            let tokenizer = &self.tokenizer;
            return Ok(Dataset::storybook(
                tokenizer, mix, seed, window, windows, held_out,
            )?);
        }
        let tokens = (windows + held_out) as usize * window;
        let texts = self.training(seed, tokens, window)?;
        Ok(Dataset::tokens(
            texts.concat(),
            window,
            self.describe_training(),
        )?)
    }

    /// The first documents of a split, from the domains in turn.
    fn documents(
        &self,
        seed: u64,
        split: Split,
        count: usize,
        length: usize,
    ) -> Result<Vec<Vec<u32>>, ReportError> {
        let one = |at: usize| {
            let domain = Domain::ALL[at % Domain::ALL.len()];
            let index = (at / Domain::ALL.len()) as u64;
            self.document(seed, split, domain, index, length)
        };
        (0..count).map(one).collect()
    }

    fn document(
        &self,
        seed: u64,
        split: Split,
        domain: Domain,
        index: u64,
        length: usize,
    ) -> Result<Vec<u32>, ReportError> {
        // A word has at least one token.
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

/// Random ids, uniform over the vocabulary.
pub fn random(seed: u64, index: u64, vocabulary: usize, length: usize) -> Vec<u32> {
    let seed = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random_ids(seed, u32::try_from(vocabulary).unwrap_or(u32::MAX), length)
}

impl News {
    /// The articles of a dataset; `None` if it contains texts.
    fn of(dataset: &LocalDataset) -> Option<Self> {
        match &dataset.spec.columns {
            Columns::Lines { .. } => None,
            Columns::Articles {
                article,
                highlights,
            } => Some(Self {
                name: dataset.spec.label.clone(),
                files: dataset.test.clone(),
                columns: cnn_dailymail::Columns {
                    article: article.clone(),
                    highlights: highlights.clone(),
                },
            }),
        }
    }
}

/// Numbers domains with equal names, or with names that give equal record names.
fn make_names_unique(domains: &mut [FileDomain]) {
    for index in 1..domains.len() {
        let (before, rest) = domains.split_at_mut(index);
        let stem = rest[0].name.clone();
        let again = |number: usize| match number {
            1 => stem.clone(),
            number => format!("{stem} {number}"),
        };
        let taken: Vec<String> = before.iter().map(|one| in_file_name(&one.name)).collect();
        let free = |name: &String| !taken.contains(&in_file_name(name));
        if let Some(name) = (1..=index + 1).map(again).find(free) {
            rest[0].name = name;
        }
    }
}

/// The storybook domain of this name.
fn named(name_of: &str) -> Domain {
    let found = Domain::ALL.into_iter().find(|one| name(*one) == name_of);
    found.unwrap_or_default()
}

fn name(domain: Domain) -> String {
    format!("{domain:?}").to_lowercase()
}

/// The files of a model folder that determine the model.
pub fn model_files(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    files(folder, &["safetensors", "bin", "json", "txt"])
}
