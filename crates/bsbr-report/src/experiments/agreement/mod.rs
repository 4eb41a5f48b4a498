//! Whether each arm would choose the tokens that the dense model chooses.

mod render;

use bsbr_metrics::MetricError;
use serde::Deserialize;

use crate::compare::{self, LogitScore, States};
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches};
use crate::lab::Lab;
use crate::record::{Measurement, Records};
use crate::reported::Claim;
use crate::section::Section;
use crate::spec::{ArmSpec, Spec};

/// Version of the way to measure.
pub const VERSION: u32 = 1;

/// What `--quick` leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens of a text.
    pub length: usize,
}

/// What `--quick` scales.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Texts of each domain.
    pub texts_per_domain: u64,
    /// Texts of a unit.
    pub per_unit: u64,
}

/// The experiment.
#[derive(Debug)]
pub struct Agreement {
    spec: Spec,
    settings: Settings,
    counts: Counts,
    claims: Vec<Claim>,
}

impl Agreement {
    /// The experiment of a specification.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] where a setting or count is wrong.
    pub fn new(spec: Spec, claims: Vec<Claim>) -> Result<Self, ReportError> {
        let settings: Settings = spec.method.settings()?;
        if settings.length == 0 {
            return Err(ReportError::Setting {
                experiment: spec.method.experiment.clone(),
                table: "settings",
                message: "`length` must be above 0".to_owned(),
            });
        }
        Ok(Self {
            settings,
            counts: spec.method.counts()?,
            spec,
            claims,
        })
    }

    pub(super) fn boxed(
        spec: Spec,
        claims: Vec<Claim>,
    ) -> Result<Box<dyn Experiment>, ReportError> {
        Ok(Box::new(Self::new(spec, claims)?))
    }

    fn arms(&self) -> &[ArmSpec] {
        &self.spec.method.arms
    }

    /// Every arm on one text.
    fn text(&self, unit: &Unit, index: u64, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let seed = self.spec.method.seed;
        let ids = lab.corpus().text(seed, &unit.source, index, unit.length)?;
        let new = |arm: &ArmSpec| Measurement::new(&arm.id, &unit.source, unit.length, index);
        let dense = match States::last_of(lab.dense(), &ids) {
            Ok(states) => states,
            Err(ReportError::Input(reason)) => {
                let arms = self.arms().iter();
                return Ok(arms
                    .map(|arm| new(arm).without_values(reason.to_string()))
                    .collect());
            }
            Err(error) => return Err(error),
        };
        let mut measurements = Vec::with_capacity(self.arms().len());
        let mut models = Vec::new();
        let mut places = Vec::new();
        for arm in self.arms() {
            match lab.model(arm, seed) {
                Ok(model) => {
                    let states = States::last_of(&model, &ids)?;
                    models.push((model, states));
                    places.push(measurements.len());
                    measurements.push(new(arm));
                }
                Err(reason) => measurements.push(new(arm).without_values(reason)),
            }
        }
        let scores = compare::logits(lab.dense(), &dense, &models)?;
        let width = lab.dense().config().n_embd;
        for ((place, scores), (_, states)) in places.into_iter().zip(scores).zip(&models) {
            let one = &mut measurements[place];
            if let Err(error) = fill(one, scores, &dense, states, width) {
                *one = std::mem::take(one).without_values(error.to_string());
            }
        }
        Ok(measurements)
    }
}

/// All positions under a quantity's own name, the last quarter of them under `tail.`.
fn fill(
    one: &mut Measurement,
    scores: Result<Vec<LogitScore>, MetricError>,
    dense: &States,
    arm: &States,
    width: usize,
) -> Result<(), MetricError> {
    let scores = scores?;
    let cosine = compare::hidden(dense.last(), arm.last(), width)?.cosine;
    let tail = scores.len() - scores.len().div_ceil(4);
    for (prefix, first) in [("", 0), ("tail.", tail)] {
        let mean = |field: fn(&LogitScore) -> f64| compare::mean(&scores, |at| at >= first, field);
        let values = [
            ("top1", mean(|score| score.agreement.top1)),
            ("top5", mean(|score| score.agreement.top5)),
            ("top10", mean(|score| score.agreement.top10)),
            ("kl", mean(|score| score.kl)),
            ("cosine", compare::mean(&cosine, |at| at >= first, |&x| x)),
        ];
        for (quantity, value) in values {
            if let Some(value) = value {
                one.set(format!("{prefix}{quantity}"), value);
            }
        }
    }
    Ok(())
}

impl Experiment for Agreement {
    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let models = self.arms().len() + 1;
        let mut units = Vec::new();
        for domain in lab.corpus().domains() {
            let (length, wanted) = (self.settings.length, self.counts.texts_per_domain);
            let count = lab.corpus().available(&domain, length, wanted)?;
            units.extend(batches(
                &domain,
                length,
                count,
                self.counts.per_unit,
                models,
            ));
        }
        Ok(units)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            measurements.extend(self.text(unit, index, lab)?);
        }
        Ok(measurements)
    }

    fn render(&self, records: &Records) -> Result<Section, ReportError> {
        Ok(render::section(self, records))
    }
}
