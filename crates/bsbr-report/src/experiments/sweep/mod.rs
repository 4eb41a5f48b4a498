//! One setting of an arm at several values: cost and quality.

mod lines;
mod measure;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::common::{in_turns, models};
use crate::experiments::frame::Frame;
use crate::experiments::measure::QUESTIONS;
use crate::lab::Lab;
use crate::present::subject::{Line, Subject};
use crate::record::{Measurement, Records};
use crate::spec::{Spec, dense};

pub(super) use measure::Trial;

/// Version of the method.
pub const VERSION: u32 = 1;

/// Work per token of a text.
const TEXT_EFFORT: f64 = 0.7;

/// Work per token between fact and question.
const QUESTION_EFFORT: f64 = 0.35;

/// Settings that `--quick` keeps.
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
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Total number of texts, from the domains in turn.
    pub texts: u64,
    /// Questions.
    pub questions: u64,
    /// Texts or questions per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Sweep = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Sweep::new(spec)?;
    let Settings {
        length,
        distance,
        candidates,
        ..
    } = one.settings;
    one.require(
        length > 0 && candidates >= 2 && length != distance,
        "settings",
        "`length` must be above 0 and different from `distance`, and `candidates` at least 2",
    )?;
    Ok(Box::new(one))
}

/// The units of texts and questions.
pub(super) fn units(
    settings: &Settings,
    counts: &Counts,
    models: usize,
    lab: &Lab,
) -> Result<Vec<Unit>, ReportError> {
    let per_unit = counts.per_unit;
    let texts = in_turns(lab, settings.length, counts.texts, per_unit, models)?;
    let (distance, questions) = (settings.distance, counts.questions);
    let questions = batches(QUESTIONS, distance, questions, per_unit, models);
    let questions = weighed(questions, QUESTION_EFFORT);
    Ok(weighed(texts, TEXT_EFFORT).chain(questions).collect())
}

impl Experiment for Sweep {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        units(&self.settings, &self.counts, self.arms().len(), lab)
    }

    fn subjects(&self) -> Vec<Subject> {
        lines::subjects(self.arms())
    }

    /// The swept arms, line by line.
    fn rows(&self, _: &str, _: &Records) -> Vec<Subject> {
        let mut subjects = self.subjects();
        subjects.retain(|one| self.spec.arm(&one.id).is_some_and(|arm| arm.swept));
        subjects.sort_by_key(|one| one.arm);
        subjects
    }

    fn lines(&self, _: &str, _: &Records) -> Vec<(String, Vec<Line>)> {
        vec![(String::new(), lines::lines(self.arms()))]
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let models = models(self.arms(), self.seed(), lab, self.settings.extension);
        let trial = Trial {
            lab,
            extension: self.settings.extension,
            models: &models,
            dense: dense(self.arms()).map_or("", |arm| &arm.id),
        };
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let mut all = self.empty(unit, index);
            trial.sample(self.seed(), self.settings.candidates, &mut all)?;
            measurements.append(&mut all);
        }
        Ok(measurements)
    }
}
