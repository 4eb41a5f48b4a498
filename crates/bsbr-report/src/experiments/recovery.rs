//! How much fine-tuning recovers of each arm's loss, compared with the original tuned on the same
//! tokens.

use std::rc::Rc;

use bsbr_train::finetune::{FinetuneConfig, Mix};

use crate::experiments::measure::{Named, effort};
use crate::experiments::prelude::*;
use crate::experiments::summarisation;
use crate::experiments::tuning::{Kept, TRAINING, Tuned, Tuning, training, window};
use crate::judge;

/// Work per token of training.
const TRAINING_EFFORT: f64 = 2.4;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// AdamW's maximum learning rate: it rises for a tenth of the steps, then falls along a cosine
    /// to a tenth, as in `cargo xtask finetune`.
    pub learning_rate: f64,
    /// Training windows, and what is measured.
    #[serde(flatten)]
    pub tasks: Tasks,
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

impl Settings {
    /// The largest number of epochs.
    fn last(&self) -> u64 {
        self.epochs.iter().copied().max().unwrap_or_default()
    }
}

/// The name of a model: its arm, and its training epochs; without its far field, with `/cut`.
fn tuned_id(arm: &str, epochs: u64) -> String {
    format!("{arm}@{epochs}")
}

/// The experiment.
pub type Recovery = Frame<Settings, Kept>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Recovery::read(spec, &["length", "distance", "windows"], &["candidates"])?;
    let (settings, tasks) = (&one.settings, &one.settings.tasks);
    let names = format!("`length`, `distance` and {}", summarisation::LENGTH);
    let lengths = [tasks.length, tasks.distance, summarisation::LENGTH];
    one.require_apart(&names, &lengths)?;
    let epochs = &settings.epochs;
    let rise = epochs.is_sorted_by(|a, b| a < b) && epochs.first() == Some(&0);
    let message = "`epochs` must start with 0 and be increasing";
    one.require(rise, "counts", message)?;
    one.require_valid(one.training(settings.last()).validate())?;
    one.require_valid(tasks.generation(Vec::new()).validate())?;
    Ok(Box::new(one))
}

impl Recovery {
    /// The training of every arm for some epochs, including the dense model.
    fn training(&self, epochs: u64) -> FinetuneConfig {
        let (rate, rows) = (self.settings.learning_rate, self.settings.tasks.rows);
        FinetuneConfig {
            epochs,
            ..training(self.seed(), rate, rows)
        }
    }

    /// An arm after at least one epoch: from the folder if it was tuned before, otherwise tuned
    /// now, or why that failed.
    fn tune(&self, arm: &ArmSpec, epochs: u64, lab: &Lab) -> Tried<Tuned> {
        let start = match lab.model(arm, self.seed()) {
            Ok(model) => model,
            Err(reason) => return Ok(Err(reason)),
        };
        let settings = &self.settings;
        let (windows, held_out) = (settings.windows, settings.held_out);
        let window = settings.tasks.window(lab);
        let corpus = lab.corpus();
        let data = corpus.windows(Mix::Plain, self.seed(), window, windows, held_out)?;
        let name = format!("{}-{epochs:03}", arm.id);
        let what = (name.as_str(), self.spec.method.version, &arm.config);
        Tuning::new(self.training(epochs), what, &data, lab)?.run(start, None)
    }

    /// The arm's models with their names.
    fn models(&self, arm: &ArmSpec, lab: &Lab) -> Result<Vec<Named>, ReportError> {
        let (tasks, last) = (&self.settings.tasks, self.settings.last());
        let get = |epochs: u64| -> Tried<Gpt2> {
            Ok(match epochs {
                0 => lab.model(arm, self.seed()),
                _ => self.tune(arm, epochs, lab)?.and_then(|tuned| {
                    let packed = lab.packed(tuned.model()?);
                    packed.map_err(|error| error.to_string())
                }),
            })
        };
        let mut models: Vec<Named> = Vec::new();
        for &epochs in &self.settings.epochs {
            let model = get(epochs)?.and_then(|model| tasks.fitted(model, lab));
            models.push((tuned_id(&arm.id, epochs), model));
        }
        if let Some(near) = arm.config.without_retrieval() {
            let cut = get(last)?.and_then(|model| {
                let model = arms::convert(&model, &near, &[]);
                tasks.fitted(model.map_err(|error| error.to_string())?, lab)
            });
            models.push((format!("{}/cut", tuned_id(&arm.id, last)), cut));
        }
        Ok(models)
    }

    /// The validation loss before training and after each run.
    fn curve(&self, arm: &ArmSpec, unit: &Unit, lab: &Lab) -> Measured {
        let new = |epochs| Measurement::new(&tuned_id(&arm.id, epochs), TRAINING, unit.length, 0);
        let mut all: Vec<Measurement> = Vec::new();
        for &epochs in self.settings.epochs.iter().filter(|&&epochs| epochs > 0) {
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
    fn units(&self, lab: &Lab) -> Units {
        let settings = &self.settings;
        let sampled = [
            settings.texts_per_domain,
            settings.articles,
            settings.questions,
        ];
        let sources = settings.tasks.sources(sampled, lab)?;
        let window = settings.tasks.window(lab);
        let epochs: u64 = settings.epochs.iter().sum();
        let tokens = epochs as f64 * settings.windows as f64 * window as f64;
        let mut units = Vec::new();
        for arm in self.arms() {
            let cut = usize::from(arm.config.without_retrieval().is_some());
            let models = settings.epochs.len() + cut;
            let training = Unit::new(TRAINING, window, 1, TRAINING_EFFORT * tokens);
            units.push(training.of_arm(arm));
            for (source, length, count) in &sources {
                let own = batches(source, *length, *count, settings.per_unit, models);
                let own = weighed(own, effort(source, lab));
                units.extend(own.map(|unit| unit.of_arm(arm)));
            }
        }
        Ok(units)
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        let window = || window(records, self.settings.tasks.window);
        match name {
            "window" => Some(grouped(window() as u64)),
            "tokens" => Some(grouped(self.settings.windows * window() as u64)),
            "after" => Some(plural(self.settings.last(), "epoch")),
            _ => None,
        }
    }

    /// The arms with a far field.
    fn rows(&self, _: &str, _: &Records) -> Vec<Subject> {
        let mut rows = self.subjects();
        rows.retain(|one| {
            let arm = self.spec.arm(&one.id);
            arm.is_some_and(|arm| arm.config.without_retrieval().is_some())
        });
        rows
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let Some(arm) = self.arm_of(unit) else {
            return Ok(Vec::new());
        };
        if unit.source == TRAINING {
            return self.curve(arm, unit, lab);
        }
        let (seed, corpus) = (self.seed(), lab.corpus());
        let models: Rc<[Named]> = self.own.of(&arm.id, || self.models(arm, lab))?;
        let judged = unit.source == corpus.articles_name() && arm.is_dense();
        unit.each(|index| {
            let place = (unit.source.as_str(), unit.length, index);
            let mut all = self.settings.tasks.sample(&models, place, seed, lab)?;
            if judged {
                let article = corpus.article(seed, index)?;
                let prompt = corpus.tokenizer().encode_document(&article.prompt())?;
                let one = Measurement::new(judge::REFERENCE, &unit.source, unit.length, index);
                all.push(summarisation::reference(one, &article, prompt.len()));
            }
            Ok(all)
        })
    }
}
