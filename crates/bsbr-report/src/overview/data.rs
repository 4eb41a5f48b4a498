//! The overview as defined in `assets/overview.toml`.

use std::path::Path;

use serde::Deserialize;

use crate::error::ReportError;
use crate::experiments;
use crate::host::On;
use crate::present::layout::{ScatterSpec, Source};
use crate::present::names::{self, Names};
use crate::quantity::{Quantities, Quantity};
use crate::reported::Reported;
use crate::spec::{Spec, parse, read, spec_error};
use crate::style::Style;
use crate::verdict::Bounds;

/// The contents of `assets/overview.toml`: the first screen, and the report's conclusions.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// A few numbers of the default arm.
    #[serde(default, rename = "card")]
    pub cards: Vec<CardSpec>,
    /// Plots of two numbers of every arm.
    #[serde(default, rename = "scatter")]
    pub scatters: Vec<ScatterSpec<NumberSpec>>,
    /// The report's conclusions.
    #[serde(default, rename = "conclusion")]
    pub conclusions: Vec<Conclusion>,
}

/// A question with the numbers that answer it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSpec {
    /// The question.
    pub title: String,
    /// The numbers; the first one is shown large.
    #[serde(rename = "number")]
    pub numbers: Vec<NumberSpec>,
}

/// A measured number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberSpec {
    /// Its description.
    pub text: String,
    /// The experiment of its records.
    pub experiment: String,
    /// The measured quantity.
    pub measure: Measure,
    /// Its format.
    #[serde(default)]
    pub style: Style,
    /// The arm; the default arm if absent.
    #[serde(default = "default_arm")]
    pub arm: String,
    /// Other arms whose values are shown too.
    #[serde(default)]
    pub beside: Vec<String>,
}

/// A conclusion of the report, and the statements that support it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conclusion {
    /// The text.
    pub text: String,
    /// Claims, which decide, and observations, which do not.
    #[serde(rename = "claim")]
    pub statements: Vec<Statement>,
}

/// A claim or observation, and the measurement that decides it; or a goal of an experiment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The text.
    pub text: String,
    /// Whether it is shown without affecting the conclusion.
    #[serde(default)]
    pub observation: bool,
    /// The experiment of its records; absent in goals, which are in the file of theirs.
    #[serde(default)]
    pub experiment: String,
    /// The arm whose value decides.
    #[serde(default = "default_arm")]
    pub arm: String,
    /// Other arms whose values are shown too.
    #[serde(default)]
    pub beside: Vec<String>,
    /// The required device of the records.
    #[serde(default)]
    pub device: Option<On>,
    /// The measured quantity.
    pub measure: Measure,
    /// The limits.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// The format of values; that of a goal is its quantity's.
    #[serde(default)]
    pub style: Style,
    /// The report's figure, as `row:column` in `report.toml`.
    #[serde(default)]
    pub reported: Option<String>,
    /// Additional information for the reader.
    #[serde(default)]
    pub note: Option<String>,
}

fn default_arm() -> String {
    "moments".to_owned()
}

/// A measured number of an arm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Measure {
    /// A goal of the experiment's specification, with its arm and limits.
    Goal(String),
    /// Tokens per second, from a quantity in seconds.
    Rate(Values),
    /// The size of the arm's cache at this length relative to dense, by definition.
    Cache {
        /// Tokens.
        length: usize,
    },
    /// The mean of a quantity over samples.
    Mean(Values),
    /// That mean, divided by the mean of another arm on the same samples.
    Ratio {
        /// What is divided.
        #[serde(flatten)]
        of: Values,
        /// The other arm.
        over: String,
    },
    /// The length from which on the quantity stays below that of another arm.
    Crossover {
        /// The quantity.
        quantity: String,
        /// The source of the sequences.
        source: Source,
        /// The other arm.
        over: String,
    },
    /// b in a·nᵇ.
    Exponent {
        /// The quantity.
        quantity: String,
        /// The source of the sequences.
        source: Source,
        /// The shortest length of the fit.
        from: usize,
    },
    /// The median of a quantity over samples, at each of some lengths. The worst of them decides.
    Median {
        /// The quantity.
        quantity: String,
        /// The source of its values.
        source: Source,
        /// The lengths.
        lengths: Lengths,
    },
    /// A size, which is equal in every run, so that it decides without an interval.
    Size(Values),
    /// The share of votes for the arm's summaries among the votes with a preference.
    Preference {
        /// The arm of the other summaries.
        over: String,
    },
    /// The position between two other arms' means, on the same samples.
    Gap {
        /// What is compared.
        #[serde(flatten)]
        of: Values,
        /// The arm at 0.
        before: String,
        /// The arm at 1.
        goal: String,
    },
}

/// The values of a quantity in sequences of one length.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// Its name in records.
    pub quantity: String,
    /// Tokens per sequence.
    pub length: usize,
    /// The source of the sequences; texts if absent.
    #[serde(default)]
    pub source: Source,
}

/// Lengths of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Lengths {
    /// All of these.
    These(Vec<usize>),
    /// Every measured one from this on.
    From {
        /// Tokens.
        from: usize,
    },
}

impl Measure {
    /// The quantity that it reads and its source; `None` if it reads none, or a goal's.
    fn reads(&self) -> Option<(&str, &Source)> {
        match self {
            Self::Mean(of)
            | Self::Rate(of)
            | Self::Size(of)
            | Self::Ratio { of, .. }
            | Self::Gap { of, .. } => Some((&of.quantity, &of.source)),
            Self::Crossover {
                quantity, source, ..
            }
            | Self::Median {
                quantity, source, ..
            }
            | Self::Exponent {
                quantity, source, ..
            } => Some((quantity, source)),
            Self::Goal(_) | Self::Cache { .. } | Self::Preference { .. } => None,
        }
    }

    /// The quantity that it reads, if any, which must be declared, and its source known.
    ///
    /// # Errors
    ///
    /// The unknown name, and the known ones.
    pub(crate) fn check<'a>(
        &self,
        quantities: &'a Quantities,
        names: Names,
    ) -> Result<Option<&'a Quantity>, String> {
        let Some((quantity, source)) = self.reads() else {
            return Ok(None);
        };
        names::source(names, source.name())?;
        quantities.find(quantity).map(Some)
    }

    /// The goal that it names, if there is one.
    pub(super) fn goal<'a>(&self, spec: &'a Spec) -> Option<&'a Statement> {
        let Self::Goal(name) = self else {
            return None;
        };
        spec.goals.iter().find(|goal| goal.text == *name)
    }
}

impl Statement {
    /// Refuses a statement that cannot be judged.
    pub(crate) fn check(&self) -> Result<(), String> {
        let wrong = match (&self.measure, self.bounds.is_empty()) {
            _ if self.experiment.is_empty() => "names no experiment",
            (Measure::Goal(_), false) => "has both its own limits and those of its goal",
            (Measure::Goal(_), true) | (_, false) => return Ok(()),
            (_, true) => "has no limit",
        };
        Err(format!("“{}” {wrong}", self.text))
    }
}

impl Overview {
    /// Reads `assets/overview.toml`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be read, or a statement has no experiment, no limit or too many.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let overview: Self = parse(path, &read(path)?)?;
        overview.check_statements(path)?;
        Ok(overview)
    }

    /// Refuses statements that cannot be judged; `path` is their file.
    pub(crate) fn check_statements(&self, path: &Path) -> Result<(), ReportError> {
        let mut statements = self.conclusions.iter().flat_map(|one| &one.statements);
        let checked = statements.try_for_each(Statement::check);
        checked.map_err(|message| spec_error(path, message))
    }

    /// Checks that all names in use exist: experiments, and of the given ones their quantities,
    /// sources and goals; and figures, if there are any.
    ///
    /// # Errors
    ///
    /// [`ReportError::Overview`] names what does not exist.
    pub fn check(&self, specs: &[Spec], reported: &Reported) -> Result<(), ReportError> {
        let statements = self.conclusions.iter().flat_map(|one| &one.statements);
        for one in statements.clone() {
            let unknown = |name: &&String| reported.figure(name).is_none();
            let figure = one.reported.iter().find(unknown);
            if let (Some(figure), false) = (figure, reported.is_empty()) {
                let message = format!("the report has no figure `{figure}`");
                return Err(error(&one.text, message));
            }
        }
        let statements = statements.map(|one| (&one.text, &one.experiment, &one.measure));
        let numbers = self.cards.iter().flat_map(|card| &card.numbers);
        let numbers = numbers.chain(self.scatters.iter().flat_map(|one| [&one.x, &one.y]));
        let numbers = numbers.map(|one| (&one.text, &one.experiment, &one.measure));
        for (text, experiment, measure) in statements.chain(numbers) {
            let known = experiments::find(experiment);
            let names = known
                .map_err(|unknown| error(text, unknown.to_string()))?
                .names;
            let mut specs = specs.iter();
            let Some(spec) = specs.find(|spec| spec.method.experiment == *experiment) else {
                continue;
            };
            let checked = match measure {
                Measure::Goal(name) if measure.goal(spec).is_none() => {
                    Err(format!("there is no goal “{name}”"))
                }
                _ => measure.check(&spec.layout.quantities, names).map(|_| ()),
            };
            checked.map_err(|message| error(text, message))?;
        }
        Ok(())
    }
}

fn error(text: &str, message: String) -> ReportError {
    ReportError::Overview {
        text: text.to_owned(),
        message,
    }
}
