//! Training windows, each a pure function of its position.

use std::ops::Range;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::storybook::{
    Domain, FactKind, Purpose, Split, Storybook, TrainingSpec, stream as keyed,
};
use crate::tokenizer::{CachedEncoder, TextTokenizer, TokenizerError};

/// Settings of training windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// The seed of the texts and of their order.
    pub seed: u64,
    /// The split of the documents.
    pub split: Split,
    /// The number of targets of a window, which has one token more.
    pub window: usize,
    /// The share of windows with one long document of facts and questions.
    pub fact_share: f32,
    /// The share of articles with highlights in the other windows' documents.
    pub article_share: f32,
    /// The minimum and maximum number of people in a document with facts.
    pub people: (usize, usize),
    /// The minimum number of words of plain texts, if the window has room.
    #[serde(default = "short")]
    pub plain_words: usize,
    /// The kinds of facts.
    pub kinds: Vec<FactKind>,
    /// The mean number of facts per person.
    pub facts_per_person: f32,
    /// The share of a fact document's words in question lines.
    pub questions_share: f32,
    /// The domains of the prose.
    pub domains: Vec<Domain>,
    /// The weight of tokens of an answer's value; all others have weight 1.
    pub answer_weight: f32,
}

/// The default length of the shortest plain texts, in words.
fn short() -> usize {
    100
}

impl StreamConfig {
    /// Defaults for windows of `window` tokens: 70 % fact documents, a third of the
    /// rest articles; 4–10 people at 256 tokens, growing to 20–40 from 2,048 on;
    /// three facts per person, two fifths of the words in question lines, answers
    /// weighted five times.
    pub fn for_window(seed: u64, window: usize) -> Self {
        Self {
            seed,
            split: Split::Train,
            window,
            fact_share: 0.7,
            article_share: 0.35,
            people: ((window / 64).clamp(4, 20), (window / 25).clamp(8, 40)),
            plain_words: short(),
            kinds: FactKind::ALL.to_vec(),
            facts_per_person: 3.0,
            questions_share: 0.4,
            domains: Domain::ALL.to_vec(),
            answer_weight: 5.0,
        }
    }
}

/// One row of a training batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainWindow {
    /// `window + 1` tokens: inputs are all but the last, targets all but the first.
    pub ids: Vec<u32>,
    /// The weight of each target: `weights[i]` belongs to `ids[i + 1]`.
    pub weights: Vec<f32>,
}

/// An infinite stream of training windows with random access.
#[derive(Debug)]
pub struct TrainingStream {
    encoder: CachedEncoder,
    config: StreamConfig,
    book: Storybook,
    end_of_text: u32,
}

/// The approximate number of tokens per word, for the size of a fact document.
const TOKENS_PER_WORD: f32 = 1.45;

impl TrainingStream {
    /// A stream; the tokenizer must have an `<|endoftext|>` token.
    pub fn new(tokenizer: TextTokenizer, config: StreamConfig) -> Result<Self, TokenizerError> {
        let end_of_text = tokenizer.end_of_text()?;
        Ok(Self {
            encoder: CachedEncoder::new(tokenizer),
            book: Storybook::new(config.seed),
            config,
            end_of_text,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        self.encoder.tokenizer()
    }

    /// The window of a row of a step. It starts with `<|endoftext|>`, which also
    /// follows every document except the last one, which is truncated.
    ///
    /// Rows below 2^20 of steps below 2^36 have different documents.
    pub fn window(&self, step: u64, row: u64) -> Result<TrainWindow, TokenizerError> {
        let config = &self.config;
        let place = (step << 20) | (row & 0xf_ffff);
        let mut rng = keyed(config.seed, config.split, Purpose::Stream, 0, place);
        let len = config.window + 1;
        let mut ids: Vec<u32> = Vec::with_capacity(len + 256);
        let mut ends: Vec<usize> = Vec::new();
        let mut weights: Vec<f32> = Vec::with_capacity(len + 256);
        ids.push(self.end_of_text);
        weights.push(1.0);
        for part in 0u64.. {
            if ids.len() >= len {
                break;
            }
            let words = ((len - ids.len()) as f32 / TOKENS_PER_WORD) as usize;
            let index = (place << 8) | (part & 0xff);
            let long = part == 0 && chance(&mut rng, config.fact_share);
            let (text, answers) = if long {
                self.fact_document(&mut rng, index, words)
            } else {
                (self.other_document(&mut rng, index, words), Vec::new())
            };
            let from = ids.len();
            ends.clear();
            self.encoder.encode_into(&text, &mut ids, &mut ends)?;
            ids.push(self.end_of_text);
            weights.resize(ids.len(), 1.0);
            for at in tokens_ending_at(&ends, &answers) {
                weights[from + at] = config.answer_weight;
            }
        }
        ids.truncate(len);
        weights.truncate(len);
        weights.remove(0);
        Ok(TrainWindow { ids, weights })
    }

    /// A document with questions that fills most of `words`, and the spans of its
    /// answers.
    fn fact_document(
        &self,
        rng: &mut impl Rng,
        index: u64,
        words: usize,
    ) -> (String, Vec<Range<usize>>) {
        let config = &self.config;
        let spec = TrainingSpec {
            target_words: (words as f32 * rng.random_range(0.85..1.0f32)) as usize,
            people: config.people,
            kinds: config.kinds.clone(),
            facts_per_person: config.facts_per_person,
            questions_share: config.questions_share,
            domains: config.domains.clone(),
        };
        let document = self.book.training_document(config.split, index, &spec);
        let answers = document.questions.into_iter().map(|q| q.answer).collect();
        (document.text, answers)
    }

    /// An article with its highlights, or prose.
    fn other_document(&self, rng: &mut impl Rng, index: u64, words: usize) -> String {
        let config = &self.config;
        if words > 300 && chance(rng, config.article_share) {
            return self.book.article(config.split, index).training_text();
        }
        let domain = match config.domains.len() {
            0 => Domain::Tale,
            count => config.domains[rng.random_range(0..count)],
        };
        // Log-uniform lengths: as many texts between 100 and 200 words as between
        // 1,000 and 2,000.
        let longest = words.max(20) as f32;
        let shortest = config.plain_words.max(1) as f32;
        let words = longest.min(shortest) * (longest / shortest).max(1.0).powf(rng.random());
        let words = words as usize;
        self.book.plain(config.split, domain, index, words).text
    }
}

/// The positions of the tokens whose text ends where one of the spans does; both
/// lists ascend.
fn tokens_ending_at(ends: &[usize], spans: &[Range<usize>]) -> Vec<usize> {
    let mut found = Vec::with_capacity(spans.len());
    let mut at = 0;
    for span in spans {
        while at < ends.len() && ends[at] <= span.end {
            if ends[at] == span.end {
                found.push(at);
            }
            at += 1;
        }
    }
    found
}

/// True with a probability, which is clamped to its range.
fn chance(rng: &mut impl Rng, share: f32) -> bool {
    let share = f64::from(share);
    rng.random_bool(if share > 0.0 { share.min(1.0) } else { 0.0 })
}
