//! Agreement of each arm's top tokens with the dense model's.

use crate::compare::LogitScore;
use crate::experiments::beside::{Pass, Reference};
use crate::experiments::prelude::*;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub length: usize,
    /// Texts of each domain.
    pub texts_per_domain: u64,
    /// Texts per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Agreement = Frame<Settings>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    Ok(Box::new(Agreement::read(spec, &["length"], &[])?))
}

/// All positions under a quantity's own name, and the last quarter under `tail.`.
fn fill(one: &mut Measurement, scores: &[LogitScore], cosine: &[f64], _: Pass<'_>) {
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
    fn units(&self, lab: &Lab) -> Units {
        let (models, settings) = (self.arms().len() + 1, &self.settings);
        let counts = [settings.texts_per_domain, settings.per_unit];
        of_each(lab, settings.length, counts, models)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let models = self.arms().iter().map(|arm| lab.model(arm, self.seed()));
        let models: Vec<_> = models.collect();
        self.each_text(unit, lab, |ids, index| {
            let mut all = self.empty(unit, index);
            let dense = Reference::read(lab.dense(), ids)?;
            dense.compare(&models, &mut all, compare::score, fill)?;
            Ok(all)
        })
    }
}
