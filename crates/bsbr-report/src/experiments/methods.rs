//! Ways to train one arm, each on the same number of tokens: recovery and cost.

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{GenerationConfig, Gpt2, PositionExtension};
use bsbr_train::config::AdamW;
use bsbr_train::finetune::{FinetuneConfig, Objective, Trainable};
use bsbr_train::questions::Question;
use serde::Deserialize;

use crate::error::ReportError;
use crate::estimate::Estimate;
use crate::experiment::{Experiment, Unit};
use crate::experiments::frame::Frame;
use crate::experiments::recovery::measure;
use crate::experiments::summarisation::{self, Pen, stop_tokens};
use crate::experiments::tuning::Tuning;
use crate::lab::Lab;
use crate::paired;
use crate::present::subject::Subject;
use crate::present::words::plural;
use crate::record::{Measurement, Pool, Records};
use crate::section::{Block, Role};
use crate::spec::{ArmSpec, Spec, dense};

/// Version of the method.
pub const VERSION: u32 = 1;

/// The source of data about a training itself.
const TRAINING: &str = "fine-tuning";

/// The source of questions, whatever the other texts.
const QUESTIONS: &str = "storybook questions";

/// The arm before training.
const BEFORE: &str = "before";

/// Work per token of training.
const EFFORT: f64 = 2.6;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per training window; fewer if the model has fewer positions.
    pub window: usize,
    /// Windows per optimiser step.
    pub rows: usize,
    /// The ways.
    pub methods: Vec<Way>,
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

/// A way to train.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Its id in records.
    pub id: String,
    /// Its name in tables.
    pub label: String,
    /// AdamW's maximum learning rate.
    pub learning_rate: f64,
    /// The training objective.
    pub objective: Objective,
    /// The trained parameters.
    pub train: Trainable,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Epochs of the training windows.
    pub epochs: u64,
    /// Training windows.
    pub windows: u64,
    /// Texts per domain.
    pub texts_per_domain: u64,
    /// Articles to summarise.
    pub articles: u64,
    /// Questions.
    pub questions: u64,
}

/// The experiment.
pub type Methods = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Methods::new(spec)?;
    let arms = one.arms().len() == 2 && dense(one.arms()).is_some();
    one.require(
        arms,
        "settings",
        "`arms` must be the dense arm and one other",
    )?;
    let trained = one.counts.epochs > 0 && one.counts.windows > 0;
    one.require(trained, "counts", "`epochs` and `windows` must be above 0")?;
    let wrong = one.settings.methods.iter().find_map(|way| {
        let found = one.training(way).validate().err()?;
        Some(format!("`{}`: {found}", way.id))
    });
    one.require(wrong.is_none(), "settings", wrong.unwrap_or_default())?;
    Ok(Box::new(one))
}

impl Methods {
    fn training(&self, way: &Way) -> FinetuneConfig {
        FinetuneConfig {
            seed: self.seed(),
            epochs: self.counts.epochs,
            objective: way.objective,
            train: way.train,
            optimizer: AdamW {
                learning_rate: way.learning_rate,
                ..AdamW::default()
            },
            grad_accumulation: self.settings.rows,
            ..FinetuneConfig::default()
        }
    }

    fn window(&self, lab: &Lab) -> usize {
        self.settings.window.min(lab.dense().config().n_positions)
    }

    /// The trained arm.
    fn arm(&self) -> Option<&ArmSpec> {
        self.arms().iter().find(|arm| !arm.is_dense())
    }

    /// A subject's model, and the cost of its training.
    fn made(&self, id: &str, unit: &Unit, lab: &Lab) -> Result<Made, ReportError> {
        let mut cost = Measurement::new(id, TRAINING, unit.length, 0);
        let seed = self.seed();
        let Some(arm) = self.arm() else {
            return Ok(Made {
                model: Err("there is no such arm".to_owned()),
                cost,
            });
        };
        let way = self.settings.methods.iter().find(|way| way.id == id);
        let Some(way) = way else {
            let model = match dense(self.arms()) {
                Some(dense) if dense.id == id => Ok(lab.dense().clone()),
                _ => lab.model(arm, seed),
            };
            return Ok(Made { model, cost });
        };
        let start = match lab.model(arm, seed) {
            Ok(model) => model,
            Err(reason) => {
                return Ok(Made {
                    model: Err(reason.clone()),
                    cost: cost.without_values(reason),
                });
            }
        };
        let data = lab
            .corpus()
            .windows(seed, self.window(lab), self.counts.windows, 1)?;
        let name = format!("{}-{id}", arm.id);
        let what = (name.as_str(), VERSION, &arm.config);
        let tuning = Tuning::new(self.training(way), what, &data, lab)?;
        Ok(match tuning.run(start, Some(lab.dense()))? {
            Ok(tuned) => {
                cost.set("seconds", tuned.seconds);
                cost.set(
                    "tokens",
                    (self.counts.epochs * tuned.windows * unit.length as u64) as f64,
                );
                Made {
                    model: tuned.model(),
                    cost,
                }
            }
            Err(reason) => Made {
                model: Err(reason.clone()),
                cost: cost.without_values(reason),
            },
        })
    }

    /// All measurements of one subject.
    fn measured(&self, id: &str, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let (settings, seed) = (&self.settings, self.seed());
        let extension = lab.fitting(settings.extension);
        let fitted = |model: Gpt2| {
            let model = model.with_position_extension(extension);
            model.map_err(|error| error.to_string())
        };
        let made = self.made(id, unit, lab)?;
        let mut all = vec![made.cost];
        let models = [(id.to_owned(), made.model.and_then(fitted))];
        let original = lab.dense().clone().with_position_extension(extension)?;
        let (tokenizer, corpus) = (lab.corpus().tokenizer(), lab.corpus());
        for domain in corpus.domains() {
            let length = settings.length;
            for index in 0..corpus.available(&domain, length, self.counts.texts_per_domain)? {
                let ids = corpus.text(seed, &domain, index, length)?;
                let new = |id: &str| Measurement::new(id, &domain, length, index);
                all.extend(measure::text(&models, &original, &ids, new)?);
            }
        }
        let stop_tokens = stop_tokens(tokenizer)?;
        let name = corpus.articles_name();
        for index in 0..corpus.articles(self.counts.articles)? {
            let article = corpus.article(seed, index)?;
            let pen = Pen {
                tokenizer,
                prompt: tokenizer.encode_document(&article.prompt())?,
                config: GenerationConfig {
                    max_new_tokens: settings.max_new_tokens,
                    temperature: 0.0,
                    stop_tokens: stop_tokens.clone(),
                    ..GenerationConfig::default()
                },
            };
            let new = |id: &str| Measurement::new(id, &name, summarisation::LENGTH, index);
            all.extend(measure::summary(
                &models,
                &article,
                &pen,
                settings.stemming,
                new,
            ));
        }
        let qa = QaSpec {
            min_distance_words: settings.distance,
            num_candidates: settings.candidates,
            ..QaSpec::default()
        };
        let book = Storybook::new(seed);
        for index in 0..self.counts.questions {
            let question = Question::new(tokenizer, &book.qa(Split::Test, index, &qa))?;
            let new = |id: &str| Measurement::new(id, QUESTIONS, settings.distance, index);
            all.extend(measure::question(&models, &question, new));
        }
        Ok(all)
    }

    /// The subjects: the original, the arm before training, and after each way.
    fn ids(&self) -> Vec<(String, String)> {
        let original = dense(self.arms()).map(|arm| (arm.id.clone(), arm.label.clone()));
        let before = self
            .arm()
            .map(|arm| (BEFORE.to_owned(), format!("{}, before training", arm.label)));
        let ways = self.settings.methods.iter();
        let ways = ways.map(|way| (way.id.clone(), way.label.clone()));
        original.into_iter().chain(before).chain(ways).collect()
    }

    /// The difference of a way's loss on texts to the original's, over the texts that both
    /// read.
    fn beyond(&self, records: &Records, id: &str) -> Option<Estimate> {
        let original = dense(self.arms())?;
        let column = (Pool::Texts, self.settings.length, "nll");
        let found = paired::together(records, [id, &original.id], column, |[own, dense]| {
            own - dense
        });
        found.ok()
    }

    /// The ways that bring the loss back to the original's, and the cheapest of them.
    fn cheapest(&self, records: &Records) -> String {
        let recovered = self.settings.methods.iter().filter_map(|way| {
            let beyond = self.beyond(records, &way.id)?;
            let high = beyond
                .interval
                .map_or(beyond.mean, |interval| interval.high);
            let trained = records
                .measurements()
                .find(|one| one.arm == way.id && one.source == TRAINING);
            let seconds = trained?.values.get("seconds").copied()?;
            (high <= 0.0).then_some((way, seconds))
        });
        let recovered: Vec<(&Way, f64)> = recovered.collect();
        let cheapest = recovered
            .iter()
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        match cheapest {
            None => {
                "No method brings the whole interval of the loss on texts back to the original's."
                    .to_owned()
            }
            Some((way, seconds)) => {
                let names: Vec<&str> = recovered
                    .iter()
                    .map(|(way, _)| way.label.as_str())
                    .collect();
                format!(
                    "These methods bring the whole interval of the loss on texts back to the \
                     original's: {}. The cheapest is *{}*, with {seconds:.0} s.",
                    names.join("; "),
                    way.label
                )
            }
        }
    }
}

/// A model, and the data about its training.
struct Made {
    model: Result<Gpt2, String>,
    cost: Measurement,
}

impl Experiment for Methods {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let window = self.window(lab);
        let tokens = (self.counts.epochs * self.counts.windows) as f64 * window as f64;
        let unit = |(id, _): (String, String)| {
            let trained = self.settings.methods.iter().any(|way| way.id == id);
            Unit {
                work: match trained {
                    true => EFFORT * tokens,
                    false => 1.0,
                },
                source: id,
                length: window,
                samples: 0..1,
                arm: None,
            }
        };
        Ok(self.ids().into_iter().map(unit).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        let original = dense(self.arms()).map(|arm| arm.id.as_str());
        let ids = self.ids().into_iter();
        ids.map(|(id, label)| Subject {
            role: match Some(id.as_str()) == original || id == BEFORE {
                true => Role::Beside,
                false => Role::Competes,
            },
            ..Subject::other(&id, &label)
        })
        .collect()
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        let arm = || self.arm().map(|arm| arm.label.clone());
        let window = || {
            let mut all = records.measurements();
            let trained = all.find(|one| one.source == TRAINING);
            trained.map_or(self.settings.window, |one| one.length) as u64
        };
        match name {
            "arm" => arm(),
            "rows" => Some(plural(self.settings.rows as u64, "window")),
            "epochs" => Some(plural(self.counts.epochs, "time")),
            "window" => Some(window().to_string()),
            "tokens" => Some((self.counts.epochs * self.counts.windows * window()).to_string()),
            _ => None,
        }
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        let _ = name;
        Ok(vec![Block::Text(self.cheapest(records))])
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        self.measured(&unit.source, unit, lab)
    }
}
