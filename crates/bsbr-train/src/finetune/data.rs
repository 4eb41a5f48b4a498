//! Fine-tuning data: a fixed number of training windows, and validation windows.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bsbr_data::dataset::{DatasetError, Piece, Pieces, pieces};
use bsbr_data::storybook::Split;
use bsbr_data::stream::{StreamConfig, TrainWindow, TrainingStream};
use bsbr_data::tokenizer::{PieceEncoder, TextTokenizer};
use bsbr_data::tokens::{TokenWriter, Tokens};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::checkpoint::run_hash;
use crate::error::TrainError;

/// Training and validation windows.
#[derive(Debug)]
pub struct Dataset {
    source: Source,
    windows: u64,
    window: usize,
    hash: String,
    name: String,
    highest: u32,
    without_text: u64,
}

#[derive(Debug)]
enum Source {
    Storybook {
        train: Box<TrainingStream>,
        validation: Box<TrainingStream>,
        held_out: u64,
    },
    /// Tokens of all files, each followed by the end-of-text token.
    Text { ids: Tokens, held_out: u64 },
}

/// Number of windows hashed at a time.
const HASHED: usize = 1 << 16;

/// What the training windows of storybook contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Mostly long plain texts and articles, for a model that already finds facts: enough documents
    /// with questions to keep that ability.
    Plain,
    /// Mostly documents with facts and questions, whose answers weigh more, as in pretraining: for a
    /// model that has to find facts farther back than before.
    Questions,
}

impl Mix {
    fn config(self, seed: u64, window: usize) -> StreamConfig {
        let questions = StreamConfig::for_window(seed, window);
        match self {
            Self::Questions => questions,
            Self::Plain => StreamConfig {
                fact_share: 0.3,
                article_share: 0.2,
                plain_words: window * 9 / 10,
                answer_weight: 1.0,
                ..questions
            },
        }
    }
}

impl Dataset {
    /// `windows` windows of `window` tokens of storybook, a function of `mix` and `seed`, and
    /// `held_out` windows of its validation split.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if the tokenizer has no end-of-text token, or there would be no window.
    pub fn storybook(
        tokenizer: &TextTokenizer,
        mix: Mix,
        seed: u64,
        window: usize,
        windows: u64,
        held_out: u64,
    ) -> Result<Self, TrainError> {
        if windows == 0 || window == 0 {
            return Err(too_short("storybook", 0));
        }
        let config = mix.config(seed, window);
        let check = StreamConfig {
            split: Split::Validation,
            answer_weight: 1.0,
            ..config.clone()
        };
        let tokens = tokenizer.to_json()?;
        let hash = run_hash(&(&config, windows, held_out), &[tokens.as_bytes()])?;
        Ok(Self {
            source: Source::Storybook {
                train: Box::new(TrainingStream::new(tokenizer.clone(), config)?),
                validation: Box::new(TrainingStream::new(tokenizer.clone(), check)?),
                held_out,
            },
            windows,
            window,
            hash,
            name: "storybook".into(),
            highest: 0,
            without_text: 0,
        })
    }

    /// The texts of files, in windows of `window` tokens; the last one in twenty windows are held
    /// out for validation.
    ///
    /// Memory does not grow with the files: they are read and encoded in pieces, and tokens beyond
    /// eight million go to an unnamed file in the folder `scratch` until the data set is dropped.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if a file cannot be read, or all of them together hold less than two tokens.
    pub fn texts(
        tokenizer: &TextTokenizer,
        files: &[PathBuf],
        window: usize,
        scratch: &Path,
    ) -> Result<Self, TrainError> {
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        // An unreadable file is reported before the first is encoded.
        let mut files = files
            .iter()
            .map(|file| pieces(file))
            .collect::<Result<Vec<_>, _>>()?;
        let all = files.iter_mut().flatten();
        let mut data = Self::documents(tokenizer, all, window, names.join(", "), scratch)?;
        data.without_text = files.iter().map(Pieces::without_text).sum();
        Ok(data)
    }

    /// Texts in pieces, each text followed by the end-of-text token, in windows of `window` tokens;
    /// the last one in twenty windows are held out for validation. Memory is as for
    /// [`Self::texts`].
    ///
    /// # Errors
    ///
    /// [`TrainError`] if a text cannot be read, or all of them together hold less than two tokens.
    pub fn documents(
        tokenizer: &TextTokenizer,
        pieces: impl Iterator<Item = Result<Piece, DatasetError>>,
        window: usize,
        name: String,
        scratch: &Path,
    ) -> Result<Self, TrainError> {
        let end = tokenizer.end_of_text()?;
        let mut encoder = PieceEncoder::new(tokenizer);
        let mut writer = TokenWriter::new(scratch);
        let failed = || TrainError::io(scratch);
        for piece in pieces {
            let piece = piece?;
            encoder.push(&piece.text, writer.ids())?;
            if piece.last {
                encoder.finish(writer.ids())?;
                writer.ids().push(end);
            }
            writer.settle().map_err(failed())?;
        }
        Self::of(writer.finish().map_err(failed())?, window, name)
    }

    /// Windows of a list of tokens.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] if there are less than two.
    pub fn tokens(ids: Vec<u32>, window: usize, name: String) -> Result<Self, TrainError> {
        Self::of(ids.into(), window, name)
    }

    fn of(ids: Tokens, window: usize, name: String) -> Result<Self, TrainError> {
        if ids.len() < 2 || window == 0 {
            return Err(too_short(&name, ids.len()));
        }
        let window = window.min(ids.len() - 1);
        let all = (ids.len() - 1).div_ceil(window) as u64;
        let held_out = if all < 2 { 0 } else { all.div_ceil(20) };
        let mut hash = Sha256::new();
        hash.update((window as u64).to_le_bytes());
        let mut highest = 0;
        for start in (0..ids.len()).step_by(HASHED) {
            for id in read(&ids, start..start + HASHED, &name)? {
                hash.update(id.to_le_bytes());
                highest = highest.max(id);
            }
        }
        Ok(Self {
            source: Source::Text { ids, held_out },
            windows: all - held_out,
            window,
            hash: format!("{:x}", hash.finalize()),
            name,
            highest,
            without_text: 0,
        })
    }

    /// The highest token id in the data; 0 for storybook, whose tokens every model has.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// The number of skipped rows of files with a null text.
    pub fn without_text(&self) -> u64 {
        self.without_text
    }

    /// Number of windows per epoch.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Number of targets per window.
    pub fn window_size(&self) -> usize {
        self.window
    }

    /// Hash of the tokens, or of what generates them.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The name of the data, for users.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Steps of an epoch with `rows` windows per step; the last may have fewer.
    pub fn steps(&self, rows: usize) -> u64 {
        self.windows.div_ceil(rows.max(1) as u64)
    }

    /// The order of the windows in an epoch.
    pub fn order(&self, seed: u64, epoch: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..self.windows).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(epoch);
        order.shuffle(&mut rng);
        order
    }

    /// Window `index` of the data.
    ///
    /// # Errors
    ///
    /// [`TrainError::Tokenizer`] if a text cannot be encoded.
    pub fn window(&self, index: u64) -> Result<TrainWindow, TrainError> {
        match &self.source {
            // Rows of one step have different documents, up to 2^20 of them.
            Source::Storybook { train, .. } => Ok(train.window(index >> 16, index & 0xffff)?),
            Source::Text { ids, .. } => self.cut(ids, index),
        }
    }

    /// The validation windows, in order.
    ///
    /// Each may fail like [`Self::window`].
    pub fn validation(&self) -> impl Iterator<Item = Result<TrainWindow, TrainError>> {
        let count = match &self.source {
            Source::Storybook { held_out, .. } | Source::Text { held_out, .. } => *held_out,
        };
        (0..count).map(|index| match &self.source {
            Source::Storybook { validation, .. } => Ok(validation.window(0, index)?),
            Source::Text { ids, .. } => self.cut(ids, self.windows + index),
        })
    }

    /// The last window has full length and overlaps the previous one; targets that the previous one
    /// contains have weight zero.
    fn cut(&self, ids: &Tokens, index: u64) -> Result<TrainWindow, TrainError> {
        let first = index as usize * self.window;
        let start = first.min(ids.len() - 1 - self.window);
        let weight = |at: usize| if start + at < first { 0.0 } else { 1.0 };
        Ok(TrainWindow {
            ids: read(ids, start..start + self.window + 1, &self.name)?,
            weights: (0..self.window).map(weight).collect(),
        })
    }
}

fn read(ids: &Tokens, range: Range<usize>, name: &str) -> Result<Vec<u32>, TrainError> {
    let path = || PathBuf::from(format!("the tokens of {name}"));
    ids.read(range)
        .map_err(|source| TrainError::io(path())(source))
}

fn too_short(name: &str, tokens: usize) -> TrainError {
    let message = format!("{name}: {tokens} tokens, expected at least one window of two");
    TrainError::config("data", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_a_target_once() {
        let data = Dataset::tokens((0..48).collect(), 10, "numbers".into()).unwrap();
        assert_eq!(data.windows(), 4);
        let mut windows: Vec<TrainWindow> = (0..4).map(|i| data.window(i).unwrap()).collect();
        windows.extend(data.validation().map(Result::unwrap));
        let mut targets: Vec<u32> = windows
            .iter()
            .flat_map(|w| w.ids[1..].iter().zip(&w.weights))
            .filter_map(|(&id, &weight)| (weight > 0.0).then_some(id))
            .collect();
        targets.sort_unstable();
        assert_eq!(targets, (1..48).collect::<Vec<u32>>());
    }

    #[test]
    fn an_order_is_a_permutation_of_its_epoch() {
        let data = Dataset::tokens((0..1000).collect(), 10, "numbers".into()).unwrap();
        let (first, second) = (data.order(3, 0), data.order(3, 1));
        assert_eq!(first, data.order(3, 0));
        assert_ne!(first, second);
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..data.windows()).collect::<Vec<u64>>());
    }
}
