//! Quality of a model beyond its trained positions, before and after training for more positions.

use std::collections::BTreeMap;
use std::fmt;

use bsbr_convert::{LEAST_GAIN, LONG_TEXTS, LongText, choose_far_heads, has_far_heads};
use bsbr_train::evaluate::nll;
use bsbr_train::finetune::{FinetuneConfig, Mix};
use bsbr_train::questions::long_texts;

use crate::experiments::measure::{Named, answers};
use crate::experiments::prelude::*;
use crate::experiments::tuning::{Kept, Tuning, training};

/// Version of the training, part of the names of trained models.
const VERSION: u32 = 2;

/// Work per token of a text or before a question.
const EFFORT: f64 = 1.0;

/// Work per token of training.
const TRAINING_EFFORT: f64 = 2.4;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The factor by which the number of positions grows.
    pub times: usize,
    /// Tokens per training window.
    pub window: usize,
    /// Windows per optimiser step.
    pub rows: usize,
    /// AdamW's maximum learning rate.
    pub learning_rate: f64,
    /// The ends of the sections of a text in which perplexity is measured, in tokens; the last is
    /// the length of the text.
    pub stretches: Vec<usize>,
    /// The minimum number of words between fact and question.
    pub distances: Vec<usize>,
    /// Number of candidates, including the correct one.
    pub candidates: usize,
    /// Numbers of training windows, each in its own run; 0 for before training.
    pub windows: Vec<u64>,
    /// Further numbers of training windows, by arm: equal time rather than equal tokens.
    #[serde(default)]
    pub more_windows: BTreeMap<String, Vec<u64>>,
    /// Forms of the new rows to compare, before training; without any, the second half of the
    /// trained rows repeats.
    #[serde(default)]
    pub forms: Vec<Form>,
    /// Texts per domain.
    pub texts_per_domain: u64,
    /// Questions per distance.
    pub questions: u64,
    /// Texts or questions per unit.
    pub per_unit: u64,
}

/// A form of new rows, in percent of the trained rows.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The last rows, repeated.
    Repeat(usize),
    /// The same with each repetition fading in over rows of the previous one.
    Crossfade {
        /// The repeated rows.
        last: usize,
        /// The rows over which two repetitions are mixed.
        fade: usize,
    },
    /// All rows, stretched.
    Interpolate,
    /// A coarse and a fine position.
    Hierarchical,
}

impl Form {
    /// The form of [`PositionExtension::repeat_half`], by which `convert --positions` extends.
    const DEFAULT: Self = Self::Repeat(50);

    /// The rows that a table of `trained` rows gives one of `positions` rows.
    fn of(self, trained: usize, positions: usize) -> PositionExtension {
        let rows = |percent: usize| (percent * trained / 100).max(1);
        match self {
            Self::Repeat(last) => PositionExtension::RepeatLast { window: rows(last) },
            Self::Crossfade { last, fade } => PositionExtension::Crossfade {
                window: rows(last),
                fade: rows(fade),
            },
            Self::Interpolate => PositionExtension::Interpolate { positions },
            Self::Hierarchical => PositionExtension::Hierarchical,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeat(last) => write!(f, "repeat {last} %"),
            Self::Crossfade { last, fade } => write!(f, "crossfade {last} %, {fade} %"),
            Self::Interpolate => f.write_str("interpolate"),
            Self::Hierarchical => f.write_str("hierarchical"),
        }
    }
}

/// How a model gets its longer table.
#[derive(Debug, Clone, Copy)]
struct Variant {
    /// The form of the new rows, if forms are compared.
    form: Option<Form>,
    /// The number of windows it is then trained on.
    windows: u64,
}

impl Variant {
    /// The name of an arm in this variant.
    fn named(self, arm: &str) -> String {
        match self.form {
            Some(form) => format!("{arm}@{form}"),
            None => format!("{arm}@{}", self.windows),
        }
    }

    fn label(self) -> String {
        match (self.form, self.windows) {
            (Some(form), _) => form.to_string(),
            (None, 0) => "untrained".to_owned(),
            (None, windows) => plural(windows, "window"),
        }
    }
}

/// The experiment.
pub type Extension = Frame<Settings, Kept>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Extension::read(spec, &["stretches", "distances"], &["times", "candidates"])?;
    let settings = &one.settings;
    let rise = settings.stretches.is_sorted_by(|a, b| a < b);
    one.require(rise, "settings", "`stretches` must be increasing")?;
    let windows = &settings.windows;
    let rise = windows.is_sorted_by(|a, b| a < b) && windows.first() == Some(&0);
    let message = "`windows` must start with 0 and be increasing";
    one.require(rise, "counts", message)?;
    let known = |(arm, more): (&String, &Vec<u64>)| {
        let all = windows.iter().chain(more);
        one.spec.arm(arm).is_some() && all.is_sorted_by(|a, b| a < b)
    };
    let message = "`more_windows` must name arms, each with increasing numbers above `windows`";
    one.require(settings.more_windows.iter().all(known), "counts", message)?;
    let untrained = windows.len() == 1 && settings.more_windows.is_empty();
    let message = "`forms` are compared untrained: `windows` must be [0]";
    one.require(settings.forms.is_empty() || untrained, "settings", message)?;
    one.require_valid(one.training().validate())?;
    Ok(Box::new(one))
}

impl Extension {
    /// The variants of an arm.
    fn variants(&self, arm: &str) -> Vec<Variant> {
        let forms = self.settings.forms.iter();
        let untrained = |form: &Form| Variant {
            form: Some(*form),
            windows: 0,
        };
        let mut variants: Vec<Variant> = forms.map(untrained).collect();
        if variants.is_empty() {
            let more = self.settings.more_windows.get(arm).into_iter().flatten();
            let windows = self.settings.windows.iter().chain(more).copied();
            variants.extend(windows.map(|windows| Variant {
                form: None,
                windows,
            }));
        }
        variants
    }

    fn training(&self) -> FinetuneConfig {
        training(self.seed(), self.settings.learning_rate, self.settings.rows)
    }

    /// The arm with more positions, untrained, and with few far heads if it has a choice, as
    /// `cargo xtask convert --positions` makes it.
    fn start(
        &self,
        arm: &ArmSpec,
        form: Option<Form>,
        lab: &Lab,
    ) -> Result<Result<Gpt2, String>, ReportError> {
        let model = match lab.model(arm, self.seed()) {
            Ok(model) => model,
            Err(reason) => return Ok(Err(reason)),
        };
        let trained = model.config().n_positions;
        let positions = self.settings.times * trained;
        let rows = match form {
            Some(form) => form.of(trained, positions),
            None => PositionExtension::repeat_half(trained),
        };
        let model = match model.extended(positions, rows) {
            Ok(model) => model,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if !has_far_heads(&model) {
            return Ok(Ok(model));
        }
        let length = LongText::length(positions, trained);
        let texts = long_texts(lab.corpus().tokenizer(), length, LONG_TEXTS as u64)?;
        let (model, _) = choose_far_heads(model, &texts, trained, LEAST_GAIN, |_, _| {})?;
        Ok(Ok(model))
    }

    /// The arm's models with their names. Beyond their longer tables, the second half of the table
    /// repeats.
    fn models(&self, arm: &ArmSpec, lab: &Lab) -> Result<Vec<Named>, ReportError> {
        let mut last: Option<(Option<Form>, Result<Gpt2, String>)> = None;
        let mut models: Vec<Named> = Vec::new();
        for variant in self.variants(&arm.id) {
            let (_, start) = match &mut last {
                Some(last) if last.0 == variant.form => last,
                last => last.insert((variant.form, self.start(arm, variant.form, lab)?)),
            };
            let model = match (&*start, variant.windows) {
                (Ok(start), 1..) => self.tuned(arm, start.clone(), variant.windows, lab)?,
                (start, _) => start.clone(),
            };
            let read_on = |model: Gpt2| {
                let repeat = PositionExtension::repeat_half(model.config().n_positions);
                let model = model.with_position_extension(repeat);
                model.map_err(|error| error.to_string())
            };
            models.push((variant.named(&arm.id), model.and_then(read_on)));
        }
        Ok(models)
    }

    fn tuned(
        &self,
        arm: &ArmSpec,
        start: Gpt2,
        windows: u64,
        lab: &Lab,
    ) -> Result<Result<Gpt2, String>, ReportError> {
        let window = self.settings.window.min(start.config().n_positions);
        let data = lab
            .corpus()
            .windows(Mix::Questions, self.seed(), window, windows, 0)?;
        let name = format!("{}-positions-{windows}", arm.id);
        let what = (name.as_str(), VERSION, &start.config());
        let tuned = Tuning::new(self.training(), what, &data, lab)?.run(start.clone(), None)?;
        Ok(tuned.and_then(|tuned| tuned.model()))
    }

    /// The mean negative log likelihood per token in each section of a text, and the perplexity
    /// divided by that of the first section.
    fn text(
        &self,
        model: &Gpt2,
        ids: &[u32],
        new: impl Fn(usize) -> Measurement,
    ) -> Result<Vec<Measurement>, ReportError> {
        let hidden = model.hidden_states(&TokenBatch::single(ids)?)?;
        let stretches = &self.settings.stretches;
        let mut first = None;
        let of_stretch = |(at, &end): (usize, &usize)| {
            // The first token is not predicted.
            let start = at.checked_sub(1).map_or(1, |before| stretches[before]);
            let scored = start..end.min(ids.len());
            let mut one = new(end);
            let nats = nll(model, hidden.clone(), ids, scored.clone());
            let mean = nats / scored.len().max(1) as f64;
            one.set("nll", mean);
            let first = *first.get_or_insert(mean);
            one.set("perplexity.growth", f64::exp(mean - first));
            one
        };
        Ok(stretches.iter().enumerate().map(of_stretch).collect())
    }
}

impl Experiment for Extension {
    fn subjects(&self) -> Vec<Subject> {
        let arms = Subject::arms(self.arms()).into_iter();
        let after = |arm: Subject| {
            let variants = self.variants(&arm.id).into_iter();
            variants.map(move |variant| Subject {
                id: variant.named(&arm.id),
                label: format!("{}, {}", arm.label, variant.label()),
                default: arm.default && variant.form.is_none_or(|form| form == Form::DEFAULT),
                ..arm.clone()
            })
        };
        arms.flat_map(after).collect()
    }

    fn units(&self, lab: &Lab) -> Units {
        let settings = &self.settings;
        let length = settings.stretches.iter().copied().max().unwrap_or(1);
        let mut units = Vec::new();
        for arm in self.arms() {
            let mut own = Vec::new();
            let variants = self.variants(&arm.id);
            let windows: u64 = variants.iter().map(|variant| variant.windows).sum();
            let training = TRAINING_EFFORT * windows as f64 * settings.window as f64;
            let mut add = |source: &str, length, count| {
                let units = batches(source, length, count, settings.per_unit, variants.len());
                own.extend(weighed(units, EFFORT));
            };
            for domain in lab.corpus().domains() {
                let wanted = settings.texts_per_domain;
                let count = lab.corpus().available(&domain, length, wanted)?;
                add(&domain, length, count);
            }
            for &distance in &settings.distances {
                add(QUESTIONS, distance, settings.questions);
            }
            // The first measurement waits for the training.
            if let Some(first) = own.first_mut() {
                first.work += training;
            }
            units.extend(own.into_iter().map(|unit| unit.of_arm(arm)));
        }
        Ok(units)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let Some(arm) = self.arm_of(unit) else {
            return Ok(Vec::new());
        };
        let seed = self.seed();
        let models = self.own.of(&arm.id, || self.models(arm, lab))?;
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let new = |id: &str, length| Measurement::new(id, &unit.source, length, index);
            if unit.source == QUESTIONS {
                let asked = [unit.length, self.settings.candidates];
                let question = question(lab, seed, asked, index)?;
                let new = |id: &str| new(id, unit.length);
                measurements.extend(answers(&models, &question, new));
                continue;
            }
            let ids = lab.corpus().text(seed, &unit.source, index, unit.length)?;
            for (id, model) in &*models {
                measurements.extend(match model {
                    Ok(model) => self.text(model, &ids, |length| new(id, length))?,
                    Err(reason) => vec![new(id, unit.length).without_values(reason)],
                });
            }
        }
        Ok(measurements)
    }
}
