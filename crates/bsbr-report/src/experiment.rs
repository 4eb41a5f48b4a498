//! What an experiment is to the code that runs and renders it.

use std::ops::Range;

use crate::error::ReportError;
use crate::lab::Lab;
use crate::present;
use crate::present::subject::Subject;
use crate::record::{Measurement, Records};
use crate::section::{Block, Headline, Section, Verdict};
use crate::spec::Spec;

/// A piece of an experiment that is recorded as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// A domain of texts, [`RANDOM`](crate::record::RANDOM), or what else sequences come from.
    pub source: String,
    /// Tokens of a sequence.
    pub length: usize,
    /// Which sequences of the source.
    pub samples: Range<u64>,
    /// The one arm that the unit is about, or `None` for all.
    pub arm: Option<String>,
    /// How long it takes, in tokens of forward passes whose outputs are compared.
    pub work: f64,
}

impl Unit {
    /// The unit's name, also that of its record.
    pub fn id(&self) -> String {
        let arm = match &self.arm {
            Some(arm) => format!("-{arm}"),
            None => String::new(),
        };
        format!(
            "{}-{:05}-{:04}-{:04}{arm}",
            in_file_name(&self.source),
            self.length,
            self.samples.start,
            self.samples.end
        )
    }

    /// The unit in words, for whoever waits for it.
    pub fn describe(&self) -> String {
        let arm = match &self.arm {
            Some(arm) => format!(", {arm}"),
            None => String::new(),
        };
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

/// The same units, each `effort` times the work of a pass that is compared.
pub fn weighed(units: impl IntoIterator<Item = Unit>, effort: f64) -> impl Iterator<Item = Unit> {
    units.into_iter().map(move |unit| Unit {
        work: unit.work * effort,
        ..unit
    })
}

/// A source as the names of records have it.
pub(crate) fn in_file_name(source: &str) -> String {
    source.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// An experiment: units of work, each of which gives measurements, and what the section made of them
/// shows that a specification cannot declare.
pub trait Experiment {
    /// The specification that it was built from.
    fn spec(&self) -> &Spec;

    /// The units, in the order in which they are run.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where the settings do not fit the model or the texts.
    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError>;

    /// Measures every arm, or the unit's own, on every sample of the unit.
    ///
    /// What cannot be measured is a [`Measurement`] with a reason, not an error.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where going on makes no sense.
    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError>;

    /// As [`Self::run_unit`], with the records of the units before it, for a unit that builds on
    /// what those found. This is what a run calls.
    ///
    /// # Errors
    ///
    /// As [`Self::run_unit`].
    fn run_after(
        &self,
        unit: &Unit,
        lab: &Lab,
        earlier: &Records,
    ) -> Result<Vec<Measurement>, ReportError> {
        let _ = earlier;
        self.run_unit(unit, lab)
    }

    /// The rows of tables: the arms, and what they are compared with.
    fn subjects(&self) -> Vec<Subject> {
        Subject::arms(&self.spec().method.arms)
    }

    /// What a template's `{name}` stands for, where only the experiment knows.
    fn word(&self, name: &str, records: &Records) -> Option<String> {
        let _ = (name, records);
        None
    }

    /// What a part of a quantity's name is called, where it is more than a number.
    fn part_name(&self, quantity: &str, part: &str, last: bool) -> Option<String> {
        let _ = (quantity, part, last);
        None
    }

    /// What the experiment draws itself, by the name that its specification gives.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where it draws nothing of that name, or records hold what cannot be drawn.
    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        let _ = records;
        Err(ReportError::Setting {
            experiment: self.spec().method.experiment.clone(),
            table: "block",
            message: format!("it draws nothing called `{name}`"),
        })
    }

    /// Goals that are not a mean and its limits.
    fn verdicts(&self, records: &Records) -> Vec<Verdict> {
        let _ = records;
        Vec::new()
    }

    /// Columns of the overview that are not means.
    fn headlines(&self, records: &Records) -> Vec<Headline> {
        let _ = records;
        Vec::new()
    }

    /// The section that these records fill; nothing else goes into it.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where records hold what cannot be drawn.
    fn render(&self, records: &Records) -> Result<Section, ReportError> {
        present::section(self, records)
    }
}

/// `count` samples of a source as units of at most `per_unit`.
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
        Unit {
            work: (samples.end - samples.start) as f64 * length as f64 * models as f64,
            source: source.to_owned(),
            length,
            samples,
            arm: None,
        }
    })
}
