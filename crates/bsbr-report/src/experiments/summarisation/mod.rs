//! Summarisation by each arm.

mod sentences;
mod shown;

use std::time::Instant;

use bsbr_data::article::Article;
use bsbr_data::tokenizer::{Detokenizer, TextTokenizer};
use bsbr_gpt2::GenerationConfig;
use bsbr_metrics::rouge::rouge;

use crate::experiments::prelude::*;
use crate::judge::{ARTICLE, REFERENCE, SUMMARY};

use sentences::{chosen, on_lines, sentences};

/// The approximate number of tokens of a storybook article, which is the length in all
/// records.
pub(super) const LENGTH: usize = 800;

/// Work per token of an article, whose summary is generated token by token.
const EFFORT: f64 = 2.7;

/// Number of sentences of the baselines.
const SENTENCES: usize = 3;

/// The first sentences of the article.
const LEAD: (&str, &str) = ("lead-3", "Lead-3, no model");

/// Random sentences of the article, in order.
const RANDOM: (&str, &str) = ("random-3", "Random-3, no model");

/// Names of the scores.
const SCORES: [&str; 4] = ["rouge1", "rouge2", "rougeL", "rougeLsum"];

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The maximum number of tokens of a summary.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 for greedy decoding.
    #[serde(default)]
    pub temperature: f64,
    /// The number of most probable tokens that are sampled; all if absent.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Whether ROUGE compares stems of words, as `rouge-score` optionally does.
    pub stemming: bool,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
    /// Articles.
    pub articles: u64,
    /// Articles per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Summarisation = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Summarisation::read(spec, &[], &[])?;
    one.require_valid(one.generation(0, Vec::new()).validate())?;
    Ok(Box::new(one))
}

impl Summarisation {
    /// The settings of a summary; every arm uses the same random numbers.
    fn generation(&self, index: u64, stop_tokens: Vec<u32>) -> GenerationConfig {
        GenerationConfig {
            max_new_tokens: self.settings.max_new_tokens,
            temperature: self.settings.temperature,
            top_k: self.settings.top_k,
            seed: self.seed().wrapping_add(index),
            stop_tokens,
            ..GenerationConfig::default()
        }
    }

    /// Every arm's summary of an article, the baselines without a model, and the
    /// highlights.
    fn summarise(
        &self,
        models: &[Result<Gpt2, String>],
        article: &Article,
        writer: &SummaryWriter<'_>,
        new: impl Fn(&str) -> Measurement,
        index: u64,
    ) -> Vec<Measurement> {
        let stemming = self.settings.stemming;
        let of_arm = |(arm, model): (&ArmSpec, &Result<Gpt2, String>)| {
            let mut one = new(&arm.id);
            one.fill(writer.write(model), |one, written| {
                scored(one, &written.text, article, stemming);
                one.set("seconds", written.seconds);
                one.set("new_tokens", written.tokens as f64);
                one.set("ended", f64::from(u8::from(written.ended)));
            });
            one
        };
        let mut all: Vec<_> = self.arms().iter().zip(models).map(of_arm).collect();
        let from = sentences(&article.text);
        let lead = from.get(..SENTENCES).unwrap_or(&from).to_vec();
        let random = chosen(&from, SENTENCES, self.seed(), index);
        for ((id, _), sentences) in [(LEAD, lead), (RANDOM, random)] {
            let mut one = new(id);
            scored(&mut one, &sentences.join(" "), article, stemming);
            for quantity in ["seconds", "new_tokens", "ended"] {
                one.without(quantity, "not written by a model");
            }
            all.push(one);
        }
        let dense = all
            .iter()
            .find(|one| self.dense() == Some(one.arm.as_str()));
        if let Some(dense) = dense.and_then(|one| one.texts.get(SUMMARY).cloned()) {
            for one in &mut all {
                if let Some(text) = one.texts.get(SUMMARY) {
                    let same = u8::from(*text == dense);
                    one.set("as_dense", f64::from(same));
                }
            }
        }
        beside_dense(&mut all, self.arms(), &SCORES);
        all.push(reference(new(REFERENCE), article, writer.prompt.len()));
        all
    }
}

/// Sets a summary and its scores against the article's highlights.
pub(super) fn scored(one: &mut Measurement, summary: &str, article: &Article, stemming: bool) {
    let reference = article.highlights.join("\n");
    let scores = rouge(&reference, &on_lines(summary), stemming);
    one.fill(scores, |one, found| {
        let all = [found.rouge1, found.rouge2, found.rouge_l, found.rouge_lsum];
        for (name, score) in SCORES.into_iter().zip(all) {
            one.set(name, score.f1);
        }
    });
    one.set("words", words(summary));
    one.texts.insert(SUMMARY.to_owned(), summary.to_owned());
}

/// The article and its highlights, for judges of its summaries.
pub(super) fn reference(mut one: Measurement, article: &Article, tokens: usize) -> Measurement {
    let highlights = article.highlights.join(" ");
    one.set("tokens", tokens as f64);
    one.set("words", words(&highlights));
    one.texts.insert(SUMMARY.to_owned(), highlights);
    one.texts.insert(ARTICLE.to_owned(), article.text.clone());
    one
}

fn words(text: &str) -> f64 {
    text.split_whitespace().count() as f64
}

/// A model's summary.
pub(super) struct Written {
    /// Up to the end of its line.
    pub text: String,
    tokens: usize,
    ended: bool,
    seconds: f64,
}

/// Writes summaries of one article.
pub(super) struct SummaryWriter<'a> {
    pub tokenizer: &'a TextTokenizer,
    pub prompt: Vec<u32>,
    pub config: GenerationConfig,
}

impl SummaryWriter<'_> {
    /// A summary, up to the end of its line or of the text.
    pub fn write(&self, model: &Result<Gpt2, String>) -> Result<Written, String> {
        let model = model.as_ref().map_err(Clone::clone)?;
        let batch = TokenBatch::single(&self.prompt).map_err(|error| error.to_string())?;
        let start = Instant::now();
        let rows = model.generate(&batch, &self.config);
        let rows = rows.map_err(|error| error.to_string())?;
        let seconds = start.elapsed().as_secs_f64();
        let ids = rows.into_iter().next().unwrap_or_default();
        let end = self.tokenizer.end_of_text_id();
        let own = ids.split(|id| Some(*id) == end).next().unwrap_or_default();
        let mut text = Detokenizer::new(self.tokenizer, &self.prompt);
        let whole = text.extend(own);
        let whole = whole.and_then(|start| Ok(start + &text.finish()?));
        let last = ids.last();
        Ok(Written {
            text: first_line(&whole.map_err(|error| error.to_string())?).to_owned(),
            tokens: ids.len(),
            ended: last.is_some_and(|id| self.config.stop_tokens.contains(id)),
            seconds,
        })
    }
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default().trim()
}

/// The tokens that contain a line end, and the end-of-text token if the tokenizer has one.
pub(super) fn stop_tokens(tokenizer: &TextTokenizer) -> Result<Vec<u32>, ReportError> {
    let mut found = Vec::new();
    for id in 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX) {
        let text = tokenizer.decode(&[id])?;
        if Some(id) == tokenizer.end_of_text_id() || text.contains('\n') {
            found.push(id);
        }
    }
    Ok(found)
}

impl Experiment for Summarisation {
    fn units(&self, lab: &Lab) -> Units {
        let (settings, models) = (&self.settings, self.arms().len());
        let articles = lab.corpus().articles(settings.articles)?;
        let source = lab.corpus().articles_name();
        let units = batches(&source, LENGTH, articles, settings.per_unit, models);
        Ok(weighed(units, EFFORT).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut all = Subject::arms(self.arms());
        all.extend([LEAD, RANDOM].map(|(id, label)| Subject::other(id, label)));
        all
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        shown::word(self, name, records)
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        let subjects = self.subjects();
        Ok(Vec::from_iter(match name {
            "preferences" => shown::preferences(&subjects, records).map(Block::Table),
            _ => shown::example(&subjects, records).map(Block::Quotes),
        }))
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let tokenizer = lab.corpus().tokenizer();
        let models = ready_models(&self.spec, lab, self.settings.extension);
        let stop = stop_tokens(tokenizer)?;
        unit.each(|index| {
            let article = lab.corpus().article(self.seed(), index)?;
            let writer = SummaryWriter {
                tokenizer,
                prompt: tokenizer.encode_document(&article.prompt())?,
                config: self.generation(index, stop.clone()),
            };
            let new = |id: &str| Measurement::new(id, &unit.source, LENGTH, index);
            Ok(self.summarise(&models, &article, &writer, new, index))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{first_line, stop_tokens};
    use bsbr_data::tokenizer::TextTokenizer;

    #[test]
    fn a_summary_ends_with_its_line() {
        assert_eq!(first_line(" One. Two.\nThree."), "One. Two.");
        assert_eq!(first_line("\nOne."), "");
        assert_eq!(first_line(""), "");
    }

    #[test]
    fn every_token_with_an_end_of_line_stops() {
        let texts = vec!["one two\n\n\n\nthree\n\n\n\nfour\n\n\n\nfive"; 50];
        let tokenizer = TextTokenizer::train_bpe(texts, 300).unwrap();
        let stop = stop_tokens(&tokenizer).unwrap();
        let ids = tokenizer.encode("one\n\ntwo\n\n\n\nfour").unwrap();
        for id in ids {
            let text = tokenizer.decode(&[id]).unwrap();
            assert_eq!(stop.contains(&id), text.contains('\n'), "{text:?}");
        }
        assert!(stop.len() > 1);
        assert!(stop.contains(&tokenizer.end_of_text().unwrap()));
    }
}
