//! Agreement of each arm's top tokens with the dense model's.

use serde::Deserialize;

use crate::compare::{self, LogitScore};
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::beside::Reference;
use crate::experiments::common::of_each;
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::record::Measurement;
use crate::spec::Spec;

/// Version of the method.
pub const VERSION: u32 = 1;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Texts of each domain.
    pub texts_per_domain: u64,
    /// Texts per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Agreement = Frame<Settings, Counts>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Agreement::new(spec)?;
    one.require(
        one.settings.length > 0,
        "settings",
        "`length` must be above 0",
    )?;
    Ok(Box::new(one))
}

/// All positions under a quantity's own name, and the last quarter under `tail.`.
fn fill(one: &mut Measurement, scores: &[LogitScore], cosine: &[f64]) {
    let tail = scores.len() - scores.len().div_ceil(4);
    for (prefix, first) in [("", 0), ("tail.", tail)] {
        let mean = |field: fn(&LogitScore) -> f64| compare::mean(scores, |at| at >= first, field);
        one.set_known(
            [
                ("top1", mean(|score| score.agreement.top1)),
                ("top5", mean(|score| score.agreement.top5)),
                ("top10", mean(|score| score.agreement.top10)),
                ("kl", mean(|score| score.kl)),
                ("cosine", compare::mean(cosine, |at| at >= first, |&x| x)),
            ]
            .map(|(quantity, value)| (format!("{prefix}{quantity}"), value)),
        );
    }
}

impl Experiment for Agreement {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (models, counts) = (self.arms().len() + 1, &self.counts);
        let (texts, per_unit) = (counts.texts_per_domain, counts.per_unit);
        of_each(lab, self.settings.length, texts, per_unit, models)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let models = self.arms().iter().map(|arm| lab.model(arm, self.seed()));
        let models: Vec<_> = models.collect();
        self.each_text(unit, lab, |ids, index| {
            let mut all = self.empty(unit, index);
            let score = |_, dense: &[f32], arm: &[f32]| compare::score(dense, arm);
            Reference::read(lab.dense(), ids)?.compare(&models, &mut all, score, fill)?;
            Ok(all)
        })
    }
}
