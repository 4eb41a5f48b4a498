//! The common part of all experiments.

use serde::de::DeserializeOwned;

use crate::error::ReportError;
use crate::experiment::{Measured, Unit};
use crate::lab::Lab;
use crate::record::Measurement;
use crate::spec::{ArmSpec, Spec, dense};

/// A specification with typed settings, which include its counts, and the experiment's own state.
#[derive(Debug)]
pub struct Frame<S, X = ()> {
    pub(crate) spec: Spec,
    pub(crate) settings: S,
    pub(crate) own: X,
}

impl<S, X> AsRef<Spec> for Frame<S, X> {
    fn as_ref(&self) -> &Spec {
        &self.spec
    }
}

impl<S: DeserializeOwned, X: Default> Frame<S, X> {
    /// Reads settings and counts. Those named in `at_least_one` are at least 1, those in `at_least_two` at least 2;
    /// lists have one or more such values.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] names the one that is missing, of the wrong type or too low.
    pub(crate) fn read(
        spec: Spec,
        at_least_one: &[&str],
        at_least_two: &[&str],
    ) -> Result<Self, ReportError> {
        let mut all = spec.method.settings.clone();
        all.extend(spec.method.counts.clone());
        let one = Self {
            settings: spec.method.typed("settings", all)?,
            spec,
            own: X::default(),
        };
        let method = &one.spec.method;
        let at_least_one = at_least_one.iter().map(|name| (name, 1));
        for (name, least) in at_least_one.chain(at_least_two.iter().map(|name| (name, 2))) {
            let low = |value: &toml::Value| value.as_integer().is_some_and(|value| value < least);
            for (table, all) in [("settings", &method.settings), ("counts", &method.counts)] {
                let sound = match all.get(*name) {
                    Some(toml::Value::Array(all)) => !all.is_empty() && !all.iter().any(low),
                    found => !found.is_some_and(low),
                };
                let message = format!("`{name}` must have values of at least {least}");
                one.require(sound, table, message)?;
            }
        }
        Ok(one)
    }
}

impl<S, X> Frame<S, X> {
    /// The same with the experiment's own state.
    pub(crate) fn with<Y>(self, own: Y) -> Frame<S, Y> {
        Frame {
            spec: self.spec,
            settings: self.settings,
            own,
        }
    }

    fn refused(&self, table: &'static str, message: impl Into<String>) -> ReportError {
        ReportError::Setting {
            experiment: self.spec.method.experiment.clone(),
            table,
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
        let sound = condition.then_some(());
        sound.ok_or_else(|| self.refused(table, message))
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
        found.map_err(|error| self.refused("settings", error.to_string()))
    }

    /// Refuses equal lengths, of which records could not tell the sources apart.
    pub(crate) fn require_apart(&self, names: &str, all: &[usize]) -> Result<(), ReportError> {
        let equal = (1..all.len()).any(|at| all[..at].contains(&all[at]));
        self.require(!equal, "settings", format!("{names} must be different"))
    }

    /// Refuses unknown baselines of timing.
    pub(crate) fn require_torch(&self, baselines: &[String]) -> Result<(), ReportError> {
        let other = baselines.iter().find(|name| *name != "torch");
        let message = other.map(|name| format!("`baselines`: there is no `{name}`, only `torch`"));
        self.require(other.is_none(), "settings", message.unwrap_or_default())
    }

    /// The arms.
    pub(crate) fn arms(&self) -> &[ArmSpec] {
        &self.spec.method.arms
    }

    /// The id of the dense arm.
    pub(crate) fn dense(&self) -> Option<&str> {
        dense(self.arms()).map(|arm| arm.id.as_str())
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
        of: impl Fn(&[u32], u64) -> Measured,
    ) -> Measured {
        unit.each(|index| {
            let corpus = lab.corpus();
            let ids = corpus.text(self.seed(), &unit.source, index, unit.length)?;
            of(&ids, index)
        })
    }

    /// An empty measurement of each arm on a sample of a unit.
    pub(crate) fn empty(&self, unit: &Unit, index: u64) -> Vec<Measurement> {
        let ids = self.arms().iter().map(|arm| arm.id.as_str());
        unit.empty(ids, index)
    }
}
