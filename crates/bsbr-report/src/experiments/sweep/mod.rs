//! One setting of an arm at several values: cost and quality.

mod lines;
mod measure;

use bsbr_gpt2::{Gpt2, PositionExtension};
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::common::{dense_place, in_turns};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::{Measurement, Records};
use crate::section::Block;
use crate::spec::Spec;

pub(super) use measure::Trial;

/// Version of the method.
pub const VERSION: u32 = 1;

/// The source of questions, whatever the other texts.
pub(super) const QUESTIONS: &str = "storybook questions";

/// Work per token of a text.
pub(super) const TEXT_EFFORT: f64 = 0.7;

/// Work per token between fact and question.
pub(super) const QUESTION_EFFORT: f64 = 0.35;

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

impl Sweep {
    fn models(&self, lab: &Lab) -> Vec<Result<Gpt2, String>> {
        let seed = self.spec.method.seed;
        self.arms()
            .iter()
            .map(|arm| lab.model_for_any_length(arm, seed, self.settings.extension))
            .collect()
    }
}

impl Experiment for Sweep {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (counts, settings) = (&self.counts, &self.settings);
        let models = self.arms().len();
        let (length, per_unit) = (settings.length, counts.per_unit);
        let texts = in_turns(lab, length, counts.texts, per_unit, models)?;
        let mut units: Vec<Unit> = weighed(texts, TEXT_EFFORT).collect();
        let (distance, questions) = (settings.distance, counts.questions);
        let questions = batches(QUESTIONS, distance, questions, per_unit, models);
        units.extend(weighed(questions, QUESTION_EFFORT));
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        lines::subjects(self.arms())
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(vec![match name {
            "relative" => Block::Table(lines::relative(self, records)),
            _ => Block::Figure(lines::figure(self, records)),
        }])
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.spec.method.seed;
        let models = self.models(lab);
        let trial = Trial {
            lab,
            extension: self.settings.extension,
            models: &models,
            dense: dense_place(self.arms()),
        };
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let empty = self.empty(unit, index);
            measurements.extend(match unit.source.as_str() {
                QUESTIONS => {
                    let asked = (unit.length, self.settings.candidates);
                    trial.question(seed, asked, index, empty)?
                }
                domain => {
                    let ids = lab.corpus().text(seed, domain, index, unit.length)?;
                    trial.text(&ids, index, empty)?
                }
            });
        }
        Ok(measurements)
    }
}
