//! How much fine-tuning recovers of each arm's loss, compared with the original tuned on the same
//! tokens.

mod gap;
pub(super) mod measure;
mod shown;

use std::cell::RefCell;
use std::rc::Rc;

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{GenerationConfig, Gpt2, PositionExtension};
use bsbr_train::config::AdamW;
use bsbr_train::finetune::FinetuneConfig;
use bsbr_train::questions::Question;
use serde::Deserialize;

use crate::arms;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::frame::Frame;
use crate::experiments::summarisation::{self, Pen, stop_tokens};
use crate::experiments::tuning::{Tuned, Tuning};
use crate::judge;
use crate::lab::Lab;
use crate::present::words::plural;
use crate::record::{Measurement, Records};
use crate::section::Block;
use crate::spec::{ArmSpec, Spec, dense};

/// Version of the method.
pub const VERSION: u32 = 2;

/// The source of training units.
const TRAINING: &str = "fine-tuning";

/// The source of questions, whatever the other texts.
const QUESTIONS: &str = "storybook questions";

/// Work per token of training.
const TRAINING_EFFORT: f64 = 2.4;

/// Work per token of a text.
const TEXT_EFFORT: f64 = 2.8;

/// Work per token of an article, whose summary is generated token by token.
const ARTICLE_EFFORT: f64 = 1.3;

/// Work per token between fact and question.
const QUESTION_EFFORT: f64 = 0.85;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per training window; fewer if the model has fewer positions.
    pub window: usize,
    /// Windows per optimiser step.
    pub rows: usize,
    /// AdamW's maximum learning rate: it rises for a tenth of the steps, then falls along a cosine
    /// to a tenth, as in `cargo xtask finetune`.
    pub learning_rate: f64,
    /// Tokens per text.
    pub length: usize,
    /// The minimum number of words between fact and question.
    pub distance: usize,
    /// Number of candidates, including the correct one.
    pub candidates: usize,
    /// The maximum number of tokens of a summary.
    pub max_new_tokens: usize,
    /// Whether ROUGE compares stems of words.
    pub stemming: bool,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Numbers of training epochs, each in its own run; 0 for before training.
    pub epochs: Vec<u64>,
    /// Training windows.
    pub windows: u64,
    /// Validation windows, for the loss before and after training.
    pub held_out: u64,
    /// Texts per domain.
    pub texts_per_domain: u64,
    /// Articles to summarise.
    pub articles: u64,
    /// Questions.
    pub questions: u64,
    /// Texts, articles or questions per unit.
    pub per_unit: u64,
}

impl Counts {
    /// The largest number of epochs.
    fn last(&self) -> u64 {
        self.epochs.iter().copied().max().unwrap_or_default()
    }
}

/// The name of a model: its arm, and its training epochs.
fn tuned_id(arm: &str, epochs: u64) -> String {
    format!("{arm}@{epochs}")
}

/// The name of a tuned model without its far field.
fn cut_id(arm: &str, epochs: u64) -> String {
    format!("{arm}@{epochs}/cut")
}

/// A model with its name in records, or why it is missing.
type Named = (String, Result<Gpt2, String>);

/// The models of the most recent arm.
type Kept = RefCell<Option<(String, Rc<[Named]>)>>;

/// The experiment.
pub type Recovery = Frame<Settings, Counts, Kept>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one: Recovery = Frame::<Settings, Counts>::new(spec)?.with(Kept::default());
    let (settings, counts) = (&one.settings, &one.counts);
    let lengths = [settings.length, settings.distance, summarisation::LENGTH];
    let apart = (0..3).all(|at| lengths[at] != lengths[(at + 1) % 3]);
    one.require(
        settings.candidates >= 2 && !lengths.contains(&0) && apart,
        "settings",
        format!(
            "`length` and `distance` must be above 0, different, and not {}; `candidates` must be \
             at least 2",
            summarisation::LENGTH
        ),
    )?;
    let rise = counts.epochs.is_sorted_by(|a, b| a < b) && counts.epochs.first() == Some(&0);
    one.require(
        rise,
        "counts",
        "`epochs` must start with 0 and be increasing",
    )?;
    one.require(counts.windows > 0, "counts", "`windows` must be at least 1")?;
    let trained = one.training(counts.last()).validate();
    let written = one.generation(Vec::new()).validate();
    let wrong = [
        trained.err().map(|error| error.to_string()),
        written.err().map(|error| error.to_string()),
    ];
    for message in wrong.into_iter().flatten() {
        one.require(false, "settings", message)?;
    }
    Ok(Box::new(one))
}

impl Recovery {
    /// The training of every arm for some epochs, including the dense model.
    fn training(&self, epochs: u64) -> FinetuneConfig {
        FinetuneConfig {
            seed: self.spec.method.seed,
            epochs,
            optimizer: AdamW {
                learning_rate: self.settings.learning_rate,
                ..AdamW::default()
            },
            grad_accumulation: self.settings.rows,
            ..FinetuneConfig::default()
        }
    }

    fn generation(&self, stop_tokens: Vec<u32>) -> GenerationConfig {
        GenerationConfig {
            max_new_tokens: self.settings.max_new_tokens,
            temperature: 0.0,
            stop_tokens,
            ..GenerationConfig::default()
        }
    }

    /// Tokens per training window for this model.
    fn window(&self, lab: &Lab) -> usize {
        self.settings.window.min(lab.dense().config().n_positions)
    }

    /// An arm after at least one epoch: from the folder if it was tuned before, otherwise tuned
    /// now, or why that failed.
    fn tune(
        &self,
        arm: &ArmSpec,
        epochs: u64,
        lab: &Lab,
    ) -> Result<Result<Tuned, String>, ReportError> {
        let (seed, counts) = (self.spec.method.seed, &self.counts);
        let start = match lab.model(arm, seed) {
            Ok(model) => model,
            Err(reason) => return Ok(Err(reason)),
        };
        let corpus = lab.corpus();
        let data = corpus.windows(seed, self.window(lab), counts.windows, counts.held_out)?;
        let name = format!("{}-{epochs:03}", arm.id);
        let what = (name.as_str(), VERSION, &arm.config);
        Tuning::new(self.training(epochs), what, &data, lab)?.run(start, None)
    }

    /// The arm's models with their names.
    fn models(&self, arm: &ArmSpec, lab: &Lab) -> Result<Rc<[Named]>, ReportError> {
        if let Some((known, models)) = &*self.own.borrow()
            && *known == arm.id
        {
            return Ok(models.clone());
        }
        let last = self.counts.last();
        let fitted = |model: Gpt2| {
            let extension = lab.fitting(self.settings.extension);
            let model = model.with_position_extension(extension);
            model.map_err(|error| error.to_string())
        };
        let get = |epochs: u64| -> Result<Result<Gpt2, String>, ReportError> {
            Ok(match epochs {
                0 => lab.model(arm, self.spec.method.seed),
                _ => self.tune(arm, epochs, lab)?.and_then(|tuned| {
                    let packed = lab.packed(tuned.model()?);
                    packed.map_err(|error| error.to_string())
                }),
            })
        };
        let mut models: Vec<Named> = Vec::new();
        for &epochs in &self.counts.epochs {
            models.push((tuned_id(&arm.id, epochs), get(epochs)?.and_then(fitted)));
        }
        if let Some(near) = arm.config.without_retrieval() {
            let cut = get(last)?.and_then(|model| {
                let model = arms::convert(&model, &near, &[]);
                fitted(model.map_err(|error| error.to_string())?)
            });
            models.push((cut_id(&arm.id, last), cut));
        }
        let models: Rc<[Named]> = models.into();
        *self.own.borrow_mut() = Some((arm.id.clone(), models.clone()));
        Ok(models)
    }

    /// The validation loss before training and after each run.
    fn curve(
        &self,
        arm: &ArmSpec,
        unit: &Unit,
        lab: &Lab,
    ) -> Result<Vec<Measurement>, ReportError> {
        let new = |epochs| Measurement::new(&tuned_id(&arm.id, epochs), TRAINING, unit.length, 0);
        let mut all: Vec<Measurement> = Vec::new();
        for &epochs in self.counts.epochs.iter().filter(|&&epochs| epochs > 0) {
            let tuned = match self.tune(arm, epochs, lab)? {
                Ok(tuned) => tuned,
                Err(reason) => {
                    all.push(new(epochs).without_values(reason));
                    continue;
                }
            };
            let checks = &tuned.history.validations;
            let before = checks.first().filter(|_| all.is_empty());
            let before = before.map(|check| (0, check));
            for (epochs, check) in before.into_iter().chain(checks.last().map(|c| (epochs, c))) {
                let mut one = new(epochs);
                one.set("validation_perplexity", check.perplexity);
                one.set("steps", check.step as f64);
                let windows = epochs * tuned.windows;
                one.set("tokens", (windows * unit.length as u64) as f64);
                all.push(one);
            }
        }
        Ok(all)
    }
}

impl Experiment for Recovery {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (counts, settings) = (&self.counts, &self.settings);
        let mut units = Vec::new();
        for arm in self.arms() {
            let models =
                counts.epochs.len() + usize::from(arm.config.without_retrieval().is_some());
            let window = self.window(lab);
            let epochs: u64 = counts.epochs.iter().sum();
            let tokens = epochs as f64 * counts.windows as f64 * window as f64;
            let mut own = vec![Unit {
                source: TRAINING.to_owned(),
                length: window,
                samples: 0..1,
                arm: None,
                work: TRAINING_EFFORT * tokens,
            }];
            let mut add = |source: &str, length, count, effort| {
                let units = batches(source, length, count, counts.per_unit, models);
                own.extend(weighed(units, effort));
            };
            for domain in lab.corpus().domains() {
                let (length, wanted) = (settings.length, counts.texts_per_domain);
                let count = lab.corpus().available(&domain, length, wanted)?;
                add(&domain, length, count, TEXT_EFFORT);
            }
            let (name, count) = (
                lab.corpus().articles_name(),
                lab.corpus().articles(counts.articles)?,
            );
            add(&name, summarisation::LENGTH, count, ARTICLE_EFFORT);
            let (distance, count) = (settings.distance, counts.questions);
            add(QUESTIONS, distance, count, QUESTION_EFFORT);
            units.extend(own.into_iter().map(|unit| Unit {
                arm: Some(arm.id.clone()),
                ..unit
            }));
        }
        Ok(units)
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        let window = || {
            let mut all = records.measurements();
            let trained = all.find(|one| one.source == TRAINING);
            trained.map_or(self.settings.window, |one| one.length)
        };
        match name {
            "window" => Some(window().to_string()),
            "tokens" => Some((self.counts.windows * window() as u64).to_string()),
            "rows" => Some(plural(self.settings.rows as u64, "window")),
            "after" => Some(plural(self.counts.last(), "epoch")),
            _ => None,
        }
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(match name {
            "gaps" => shown::gaps(self, records),
            _ => shown::without_retrieval(self, records),
        })
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.spec.method.seed;
        let arm = self
            .arms()
            .iter()
            .find(|arm| Some(&arm.id) == unit.arm.as_ref());
        let Some(arm) = arm else {
            return Ok(Vec::new());
        };
        if unit.source == TRAINING {
            return self.curve(arm, unit, lab);
        }
        let models = self.models(arm, lab)?;
        let tokenizer = lab.corpus().tokenizer();
        let book = Storybook::new(seed);
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let new = |id: &str| Measurement::new(id, &unit.source, unit.length, index);
            match unit.source.as_str() {
                QUESTIONS => {
                    let qa = QaSpec {
                        min_distance_words: unit.length,
                        num_candidates: self.settings.candidates,
                        ..QaSpec::default()
                    };
                    let question = Question::new(tokenizer, &book.qa(Split::Test, index, &qa))?;
                    measurements.extend(measure::question(&models, &question, new));
                }
                source if source == lab.corpus().articles_name() => {
                    let article = lab.corpus().article(seed, index)?;
                    let pen = Pen {
                        tokenizer,
                        prompt: tokenizer.encode_document(&article.prompt())?,
                        config: self.generation(stop_tokens(tokenizer)?),
                    };
                    let stemming = self.settings.stemming;
                    measurements.extend(measure::summary(&models, &article, &pen, stemming, new));
                    if dense(self.arms()).is_some_and(|dense| dense.id == arm.id) {
                        let tokens = pen.prompt.len();
                        let one = new(judge::REFERENCE);
                        measurements.push(summarisation::reference(one, &article, tokens));
                    }
                }
                domain => {
                    let ids = lab.corpus().text(seed, domain, index, unit.length)?;
                    let extension = lab.fitting(self.settings.extension);
                    let original = lab.dense().clone().with_position_extension(extension)?;
                    measurements.extend(measure::text(&models, &original, &ids, new)?);
                }
            }
        }
        Ok(measurements)
    }
}
