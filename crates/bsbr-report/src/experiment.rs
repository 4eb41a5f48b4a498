//! The interface of an experiment, for running and rendering.

use std::ops::Range;

use crate::error::ReportError;
use crate::lab::Lab;
use crate::present;
use crate::present::subject::{Line, Subject};
use crate::record::{Measurement, Records};
use crate::section::{Block, Headline, Section, Verdict};
use crate::spec::{ArmSpec, Spec};

/// The measurements of a unit.
pub type Measured = Result<Vec<Measurement>, ReportError>;

/// The units of an experiment, in order.
pub type Units = Result<Vec<Unit>, ReportError>;

/// An implementation of a specification.
pub type Boxed = Result<Box<dyn Experiment>, ReportError>;

/// A part of an experiment with one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// A domain of texts, [`RANDOM`](crate::record::RANDOM), or another source of sequences.
    pub source: String,
    /// Tokens per sequence.
    pub length: usize,
    /// The sequences of the source.
    pub samples: Range<u64>,
    /// The arm of the unit, or `None` for all.
    pub arm: Option<String>,
    /// Its duration, in tokens of forward passes whose outputs are compared.
    pub work: f64,
}

impl Unit {
    /// The first samples of a source, of all arms.
    pub(crate) fn new(source: &str, length: usize, samples: u64, work: f64) -> Self {
        Self {
            source: source.to_owned(),
            length,
            samples: 0..samples,
            arm: None,
            work,
        }
    }

    /// The unit's name, which is also that of its record.
    pub fn id(&self) -> String {
        let arm = self.arm.iter().map(|arm| format!("-{arm}"));
        let arm: String = arm.collect();
        format!(
            "{}-{:05}-{:04}-{:04}{arm}",
            in_file_name(&self.source),
            self.length,
            self.samples.start,
            self.samples.end
        )
    }

    /// The same unit, of one arm.
    #[must_use]
    pub fn of_arm(self, arm: &ArmSpec) -> Self {
        Self {
            arm: Some(arm.id.clone()),
            ..self
        }
    }

    /// The measurements of each sample.
    pub(crate) fn each(&self, of: impl FnMut(u64) -> Measured) -> Measured {
        let all: Result<Vec<_>, _> = self.samples.clone().map(of).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    /// An empty measurement of each id on a sample.
    pub(crate) fn empty<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
        index: u64,
    ) -> Vec<Measurement> {
        let new = |id| Measurement::new(id, &self.source, self.length, index);
        ids.into_iter().map(new).collect()
    }

    /// A description of the unit for the user.
    pub fn describe(&self) -> String {
        let arm = self.arm.iter().map(|arm| format!(", {arm}"));
        let arm: String = arm.collect();
        let samples = &self.samples;
        format!(
            "{}, {} tokens, {}–{}{arm}",
            self.source,
            self.length,
            samples.start + 1,
            samples.end
        )
    }
}

/// The same units, with `effort` times the work of a compared pass.
pub fn weighed(units: impl IntoIterator<Item = Unit>, effort: f64) -> impl Iterator<Item = Unit> {
    units.into_iter().map(move |unit| Unit {
        work: unit.work * effort,
        ..unit
    })
}

/// A source as written in names of records.
pub fn in_file_name(source: &str) -> String {
    source.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// An experiment: units of work that give measurements, and the parts of its section that a
/// specification cannot declare.
pub trait Experiment: AsRef<Spec> {
    /// Its specification.
    fn spec(&self) -> &Spec {
        self.as_ref()
    }

    /// The units, in order.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the settings do not fit the model or the texts.
    fn units(&self, lab: &Lab) -> Units;

    /// Measures every arm, or the unit's own, on every sample of the unit. An experiment implements
    /// this method or [`Self::run_after`].
    ///
    /// A missing value is a [`Measurement`] with a reason, not an error.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the run cannot continue.
    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        self.run_after(unit, lab, &Records::default())
    }

    /// Same as [`Self::run_unit`], with the records of earlier units, for a unit that uses their
    /// results. Runs call this method.
    ///
    /// # Errors
    ///
    /// Same as [`Self::run_unit`].
    fn run_after(&self, unit: &Unit, lab: &Lab, _earlier: &Records) -> Measured {
        self.run_unit(unit, lab)
    }

    /// The rows of tables: the arms, and the baselines.
    fn subjects(&self) -> Vec<Subject> {
        Subject::arms(&self.spec().method.arms)
    }

    /// The experiment's own rows of this name in the specification.
    fn rows(&self, _name: &str, _records: &Records) -> Vec<Subject> {
        self.subjects()
    }

    /// The experiment's own lines of this name in the specification: groups with their names, each
    /// drawn as one chart.
    fn lines(&self, _name: &str, _records: &Records) -> Vec<(String, Vec<Line>)> {
        Vec::new()
    }

    /// The value of a template's `{name}` that only the experiment knows.
    fn word(&self, _name: &str, _records: &Records) -> Option<String> {
        None
    }

    /// The name of a part of a quantity, if it is more than a number.
    fn part_name(&self, _quantity: &str, _part: &str, _last: bool) -> Option<String> {
        None
    }

    /// The experiment's own block, by its name in the specification.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if there is no such block, or records cannot be drawn.
    fn special(&self, name: &str, _records: &Records) -> Result<Vec<Block>, ReportError> {
        Err(ReportError::Setting {
            experiment: self.spec().method.experiment.clone(),
            table: "block",
            message: format!("it has no block called `{name}`"),
        })
    }

    /// Goals that are not limits of a mean.
    fn verdicts(&self, _records: &Records) -> Vec<Verdict> {
        Vec::new()
    }

    /// Columns of the overview that are not means.
    fn headlines(&self, _records: &Records) -> Vec<Headline> {
        Vec::new()
    }
}

impl dyn Experiment + '_ {
    /// The section of these records, which depends on nothing else.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if records cannot be drawn.
    pub fn render(&self, records: &Records) -> Result<Section, ReportError> {
        present::section(self, records)
    }
}

/// `count` samples of a source, as units of at most `per_unit`.
pub fn batches(
    source: &str,
    length: usize,
    count: u64,
    per_unit: u64,
    models: usize,
) -> impl Iterator<Item = Unit> {
    let per_unit = per_unit.max(1);
    (0..count.div_ceil(per_unit)).map(move |part| {
        let samples = part * per_unit..((part + 1) * per_unit).min(count);
        let work = (samples.end - samples.start) as f64 * length as f64 * models as f64;
        Unit {
            samples,
            ..Unit::new(source, length, 0, work)
        }
    })
}
