//! The common part of all experiments.

use serde::de::DeserializeOwned;

use crate::error::ReportError;
use crate::experiment::Unit;
use crate::lab::Lab;
use crate::record::Measurement;
use crate::spec::{ArmSpec, Spec};

/// A specification with typed settings and counts, and the experiment's own state.
#[derive(Debug)]
pub struct Frame<S, C, X = ()> {
    pub(crate) spec: Spec,
    pub(crate) settings: S,
    pub(crate) counts: C,
    pub(crate) own: X,
}

impl<S: DeserializeOwned, C: DeserializeOwned> Frame<S, C> {
    /// Reads settings and counts.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] names the one that is missing or of the wrong type.
    pub fn new(spec: Spec) -> Result<Self, ReportError> {
        Ok(Self {
            settings: spec.method.settings()?,
            counts: spec.method.counts()?,
            spec,
            own: (),
        })
    }
}

impl<S, C, X> Frame<S, C, X> {
    /// The same with the experiment's own state.
    pub(crate) fn with<Y>(self, own: Y) -> Frame<S, C, Y> {
        Frame {
            spec: self.spec,
            settings: self.settings,
            counts: self.counts,
            own,
        }
    }

    /// Why a specification's settings are refused.
    pub(crate) fn refused(&self, message: impl Into<String>) -> ReportError {
        ReportError::Setting {
            experiment: self.spec.method.experiment.clone(),
            table: "settings",
            message: message.into(),
        }
    }

    /// Refuses a specification if a condition is not met.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] with the message.
    pub(crate) fn require(
        &self,
        condition: bool,
        table: &'static str,
        message: impl Into<String>,
    ) -> Result<(), ReportError> {
        match condition {
            true => Ok(()),
            false => Err(ReportError::Setting {
                experiment: self.spec.method.experiment.clone(),
                table,
                message: message.into(),
            }),
        }
    }

    /// Refuses settings that a crate refuses.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] with the reason.
    pub(crate) fn require_valid<T>(
        &self,
        found: Result<T, impl ToString>,
    ) -> Result<T, ReportError> {
        found.map_err(|error| self.refused(error.to_string()))
    }

    /// Refuses an empty list of lengths, or a length of 0.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`].
    pub(crate) fn require_lengths(&self, name: &str, all: &[usize]) -> Result<(), ReportError> {
        let sound = !all.is_empty() && !all.contains(&0);
        let message = format!("`{name}` needs at least one value, all above 0");
        self.require(sound, "settings", message)
    }

    /// Refuses unknown baselines of timing.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`].
    pub(crate) fn require_torch(&self, baselines: &[String]) -> Result<(), ReportError> {
        let other = baselines.iter().find(|name| *name != "torch");
        let message = other.map(|name| format!("`baselines`: there is no `{name}`, only `torch`"));
        self.require(other.is_none(), "settings", message.unwrap_or_default())
    }

    /// The arms.
    pub(crate) fn arms(&self) -> &[ArmSpec] {
        &self.spec.method.arms
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.spec.method.seed
    }

    /// The arm of a unit, if it has one.
    pub(crate) fn arm_of(&self, unit: &Unit) -> Option<&ArmSpec> {
        self.spec.arm(unit.arm.as_ref()?)
    }

    /// The measurements of each text of a unit, made from its tokens and its index.
    pub(crate) fn each_text(
        &self,
        unit: &Unit,
        lab: &Lab,
        of: impl Fn(&[u32], u64) -> Result<Vec<Measurement>, ReportError>,
    ) -> Result<Vec<Measurement>, ReportError> {
        let mut all = Vec::new();
        for index in unit.samples.clone() {
            let ids = lab
                .corpus()
                .text(self.seed(), &unit.source, index, unit.length)?;
            all.extend(of(&ids, index)?);
        }
        Ok(all)
    }

    /// An empty measurement of each arm on a sample of a unit.
    pub(crate) fn empty(&self, unit: &Unit, index: u64) -> Vec<Measurement> {
        let new = |arm: &ArmSpec| Measurement::new(&arm.id, &unit.source, unit.length, index);
        self.arms().iter().map(new).collect()
    }
}
