//! Ways to train one arm, each on the same number of tokens: recovery and cost.

use bsbr_train::finetune::{FinetuneConfig, Mix, Objective, Trainable};

use crate::experiments::measure::effort;
use crate::experiments::prelude::*;
use crate::experiments::tuning::{TRAINING, Tuning, training, window};
use crate::section::Role;

/// The arm before training.
const BEFORE: &str = "before";

/// Work per token of training.
const EFFORT: f64 = 2.6;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The ways.
    pub methods: Vec<TrainingMethod>,
    /// Training windows, and what is measured.
    #[serde(flatten)]
    pub tasks: Tasks,
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

/// A way to train.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingMethod {
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

/// The experiment.
pub type Methods = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Methods::read(spec, &["epochs", "windows"], &[])?;
    let arms = one.arms().len() == 2 && one.dense().is_some();
    let message = "`arms` must be the dense arm and one other";
    one.require(arms, "settings", message)?;
    for way in &one.settings.methods {
        let valid = one.training(way).validate();
        one.require_valid(valid.map_err(|error| format!("`{}`: {error}", way.id)))?;
    }
    Ok(Box::new(one))
}

impl Methods {
    fn training(&self, way: &TrainingMethod) -> FinetuneConfig {
        FinetuneConfig {
            epochs: self.settings.epochs,
            objective: way.objective,
            train: way.train,
            ..training(self.seed(), way.learning_rate, self.settings.tasks.rows)
        }
    }

    /// Texts per domain, articles and questions.
    fn sampled(&self) -> [u64; 3] {
        let counts = &self.settings;
        [counts.texts_per_domain, counts.articles, counts.questions]
    }

    /// The trained arm.
    fn arm(&self) -> Option<&ArmSpec> {
        self.arms().iter().find(|arm| !arm.is_dense())
    }

    /// A subject's model, or why it is missing; sets the cost of its training.
    fn model(&self, id: &str, cost: &mut Measurement, lab: &Lab) -> Tried<Gpt2> {
        let seed = self.seed();
        let Some(arm) = self.arm() else {
            return Ok(Err("there is no such arm".to_owned()));
        };
        let start = match self.dense() == Some(id) {
            true => Ok(lab.dense().clone()),
            false => lab.model(arm, seed),
        };
        let Some(way) = self.settings.methods.iter().find(|way| way.id == id) else {
            cost.without(ALL, "not trained");
            return Ok(start);
        };
        let tuned = match start {
            Ok(start) => {
                let (window, windows) = (self.settings.tasks.window(lab), self.settings.windows);
                let data = lab.corpus().windows(Mix::Plain, seed, window, windows, 1)?;
                let name = format!("{}-{id}", arm.id);
                let what = (name.as_str(), self.spec.method.version, &arm.config);
                Tuning::new(self.training(way), what, &data, lab)?.run(start, Some(lab.dense()))?
            }
            Err(reason) => Err(reason),
        };
        cost.fill(tuned.as_ref(), |cost, tuned| {
            let windows = self.settings.epochs * tuned.windows;
            cost.set("seconds", tuned.seconds);
            cost.set("tokens", (windows * cost.length as u64) as f64);
        });
        Ok(tuned.and_then(|tuned| tuned.model()))
    }

    /// The ways that bring the loss back to the original's, and the cheapest of them.
    fn cheapest(&self, records: &Records) -> String {
        let original = self.dense().unwrap_or_default();
        let length = self.settings.tasks.length;
        let recovered = self.settings.methods.iter().filter_map(|way| {
            let beyond = records.difference(&way.id, original, Pool::Texts, length, "nll")?;
            let high = beyond.interval.map_or(beyond.mean, |ends| ends.high);
            let mut trained = records.measurements();
            let trained = trained.find(|one| one.arm == way.id && one.source == TRAINING)?;
            let seconds = *trained.values.get("seconds")?;
            (high <= 0.0).then_some((way, seconds))
        });
        let recovered: Vec<(&TrainingMethod, f64)> = recovered.collect();
        let all = recovered.iter();
        let Some((way, seconds)) = all.min_by(|(_, one), (_, other)| one.total_cmp(other)) else {
            let none = "No method brings the whole interval of the loss on texts back to the \
                        original's.";
            return none.to_owned();
        };
        let names: Vec<&str> = recovered.iter().map(|(way, _)| &*way.label).collect();
        format!(
            "These methods bring the whole interval of the loss on texts back to the original's: \
             {}. The cheapest is *{}*, with {seconds:.0} s.",
            names.join("; "),
            way.label
        )
    }
}

impl Experiment for Methods {
    fn units(&self, lab: &Lab) -> Units {
        let window = self.settings.tasks.window(lab);
        let tokens = (self.settings.epochs * self.settings.windows) as f64 * window as f64;
        let sources = self.settings.tasks.sources(self.sampled(), lab)?;
        let measuring = sources
            .iter()
            .map(|(source, length, count)| effort(source, lab) * *length as f64 * *count as f64);
        let measuring: f64 = measuring.sum();
        let unit = |one: Subject| match one.role {
            Role::Competes => Unit::new(&one.id, window, 1, EFFORT * tokens + measuring),
            _ => Unit::new(&one.id, window, 1, measuring),
        };
        Ok(self.subjects().into_iter().map(unit).collect())
    }

    /// The original, the arm before training, and after each way.
    fn subjects(&self) -> Vec<Subject> {
        let original = dense(self.arms()).map(|arm| Subject::other(&arm.id, &arm.label));
        let before =
            |arm: &ArmSpec| Subject::other(BEFORE, &format!("{}, before training", arm.label));
        let ways = self.settings.methods.iter().map(|way| Subject {
            role: Role::Competes,
            ..Subject::other(&way.id, &way.label)
        });
        let before = self.arm().map(before);
        original.into_iter().chain(before).chain(ways).collect()
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        let arm = || self.arm().map(|arm| arm.label.clone());
        let window = || window(records, self.settings.tasks.window) as u64;
        match name {
            "arm" => arm(),
            "window" => Some(grouped(window())),
            "tokens" => Some(grouped(
                self.settings.epochs * self.settings.windows * window(),
            )),
            _ => None,
        }
    }

    fn special(&self, _: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(vec![Block::Text(self.cheapest(records))])
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let (id, tasks) = (&unit.source, &self.settings.tasks);
        let mut cost = Measurement::new(id, TRAINING, unit.length, 0);
        let model = self.model(id, &mut cost, lab)?;
        let model = model.and_then(|model| tasks.fitted(model, lab));
        let (models, mut all) = ([(id.clone(), model)], vec![cost]);
        for (source, length, count) in tasks.sources(self.sampled(), lab)? {
            for index in 0..count {
                let place = (source.as_str(), length, index);
                all.extend(tasks.sample(&models, place, self.seed(), lab)?);
            }
        }
        Ok(all)
    }
}
