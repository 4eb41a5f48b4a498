//! One setting of an arm at several values: cost and quality.

use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::prelude::*;
use crate::rounds::compare;

/// Work per token of a text.
const TEXT_EFFORT: f64 = 0.7;

/// Work per token between fact and question.
const QUESTION_EFFORT: f64 = 0.35;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// The minimum number of words between fact and question.
    pub distance: usize,
    /// Number of candidates, including the correct one.
    pub candidates: usize,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
    /// Total number of texts, from the domains in turn.
    pub texts: u64,
    /// Questions.
    pub questions: u64,
    /// Texts or questions per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Sweep = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Sweep::read(spec, &["length"], &["candidates"])?;
    let lengths = [one.settings.length, one.settings.distance];
    one.require_apart("`length` and `distance`", &lengths)?;
    Ok(Box::new(one))
}

/// The units of texts and questions.
pub(super) fn units(settings: &Settings, models: usize, lab: &Lab) -> Units {
    let per_unit = settings.per_unit;
    let texts = round_robin(lab, settings.length, [settings.texts, per_unit], models)?;
    let (distance, questions) = (settings.distance, settings.questions);
    let questions = batches(QUESTIONS, distance, questions, per_unit, models);
    let questions = weighed(questions, QUESTION_EFFORT);
    Ok(weighed(texts, TEXT_EFFORT).chain(questions).collect())
}

/// A sentence for a dense model that answers no question right.
pub(super) fn unanswered(settings: &Settings, dense: Option<&str>, records: &Records) -> String {
    let (asked, length) = (Pool::Source(QUESTIONS), settings.distance);
    let right = dense.map(|dense| records.estimate(dense, asked, length, "among"));
    match right {
        Some(Ok(right)) if right.mean == 0.0 => {
            " Dense answers none of these questions right, so answers do not compare the arms."
        }
        _ => "",
    }
    .to_owned()
}

impl Experiment for Sweep {
    fn units(&self, lab: &Lab) -> Units {
        units(&self.settings, self.arms().len(), lab)
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        (name == "unanswered").then(|| unanswered(&self.settings, self.dense(), records))
    }

    fn subjects(&self) -> Vec<Subject> {
        subjects(self.arms())
    }

    /// The swept arms, line by line.
    fn rows(&self, _: &str, _: &Records) -> Vec<Subject> {
        let mut subjects = self.subjects();
        subjects.retain(|one| self.spec.arm(&one.id).is_some_and(|arm| arm.swept));
        subjects.sort_by_key(|one| one.arm);
        subjects
    }

    fn lines(&self, _: &str, _: &Records) -> Vec<(String, Vec<Line>)> {
        vec![(String::new(), lines(self.arms()))]
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let trial = Trial {
            lab,
            settings: &self.settings,
            models: &models(self.arms(), self.seed(), lab, self.settings.extension),
            dense: self.dense(),
        };
        unit.each(|index| {
            let mut all = self.empty(unit, index);
            trial.sample(self.seed(), &mut all)?;
            Ok(all)
        })
    }
}

/// The swept arms of a specification, grouped by their common settings. The first colour is that
/// of the dense model.
fn lines(arms: &[ArmSpec]) -> Vec<Line> {
    let mut all: Vec<(&str, &str, Line)> = Vec::new();
    for arm in arms {
        let Some((base, setting, value)) = arm.swept_value() else {
            continue;
        };
        let point = (value, arm.id.clone());
        if let Some((.., line)) = all.iter_mut().find(|one| (one.0, one.1) == (base, setting)) {
            line.points.push(point);
            continue;
        }
        let subject = Subject {
            arm: Some(all.len() + 1),
            default: all.is_empty(),
            ..Subject::other("", base)
        };
        let points = vec![point];
        all.push((base, setting, Line { subject, points }));
    }
    // Several settings of one arm are distinguished by their names.
    let several = all.iter().any(|(_, setting, _)| *setting != all[0].1);
    let named = |(_, setting, mut line): (&str, &str, Line)| {
        if several {
            line.subject.label = setting.to_owned();
        }
        line
    };
    all.into_iter().map(named).collect()
}

/// The rows of a table in the colours of the figure: one for all values of a line.
fn subjects(arms: &[ArmSpec]) -> Vec<Subject> {
    let lines = lines(arms);
    let mut others = (lines.len() + 1)..;
    let dense = dense(arms).map(|arm| &arm.id);
    let mut subjects = Subject::arms(arms);
    for subject in &mut subjects {
        let own = |line: &&Line| line.points.iter().any(|(_, id)| *id == subject.id);
        subject.arm = match lines.iter().find(own) {
            Some(line) => line.subject.arm,
            None if dense == Some(&subject.id) => Some(0),
            None => others.next(),
        };
    }
    subjects
}

/// Models that are compared.
pub(super) struct Trial<'a> {
    pub lab: &'a Lab,
    pub settings: &'a Settings,
    /// The model of each row, or why it is missing.
    pub models: &'a [Result<Gpt2, String>],
    /// The id of the dense model.
    pub dense: Option<&'a str>,
}

impl Trial<'_> {
    /// The dense model, for texts longer than its trained length.
    pub fn reference(&self) -> Gpt2 {
        let dense = self.lab.dense().clone();
        let extended =
            dense.with_position_extension(self.lab.clamped_extension(self.settings.extension));
        extended.unwrap_or_else(|_| self.lab.dense().clone())
    }

    /// Every model on a text, in an order that rotates with the texts, or on a question: fills one
    /// measurement each.
    pub fn sample(&self, seed: u64, all: &mut [Measurement]) -> Result<(), ReportError> {
        let Some(first) = all.first() else {
            return Ok(());
        };
        let (index, length) = (first.index, first.length);
        if first.source == QUESTIONS {
            let question = question(self.lab, seed, [length, self.settings.candidates], index)?;
            for (one, model) in all.iter_mut().zip(self.models) {
                answer(one, model, &question);
            }
            return Ok(());
        }
        let ids = self.lab.corpus().text(seed, &first.source, index, length)?;
        let dense = self.reference();
        let dense = Reference::read(&dense, &ids)?.in_turn(index);
        dense.compare(
            self.models,
            all,
            compare::score,
            |one, scores, cosine, pass| {
                one.set("seconds", pass.seconds);
                one.set("cache", cache_share(pass.model, ids.len()));
                set_closeness(one, scores, cosine, pass);
            },
        )?;
        if let Some(dense) = self.dense {
            compare(all, Ok(dense), "seconds", "speedup", |own, base| base / own);
        }
        Ok(())
    }
}

/// The size of a model's cache at this length relative to dense, by definition.
fn cache_share(model: &Gpt2, tokens: usize) -> f64 {
    let config = model.config();
    let head_dim = config.head_dim();
    let numbers = |layer| config.arm(layer).cache_numbers(tokens, head_dim);
    let kept: f64 = (0..config.n_layer).map(numbers).sum();
    kept / (config.n_layer * tokens * 2 * head_dim) as f64
}
