//! The overview as `assets/overview.toml` has it.

use std::path::Path;

use serde::Deserialize;

use crate::error::ReportError;
use crate::host::On;
use crate::reported::Form;
use crate::spec::{Spec, parse, read, spec_error};
use crate::verdict::Bounds;

/// What `assets/overview.toml` has: the first screen, and the report's conclusions.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// A few numbers of the default arm.
    #[serde(default, rename = "card")]
    pub cards: Vec<CardSpec>,
    /// Two numbers of every arm, one against the other.
    #[serde(default, rename = "scatter")]
    pub scatters: Vec<ScatterSpec>,
    /// What the report concludes.
    #[serde(default, rename = "conclusion")]
    pub conclusions: Vec<Conclusion>,
}

/// A question with the numbers that answer it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSpec {
    /// The question.
    pub title: String,
    /// The numbers, the first one large.
    #[serde(rename = "number")]
    pub numbers: Vec<NumberSpec>,
}

/// A measured number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberSpec {
    /// What it is.
    pub text: String,
    /// Whose records are read.
    pub experiment: String,
    /// What is measured.
    pub measure: Measure,
    /// How it is written.
    #[serde(default)]
    pub form: Form,
    /// The arm; the default one where nothing is said.
    #[serde(default = "default_arm")]
    pub arm: String,
    /// Arms whose values are told with it.
    #[serde(default)]
    pub beside: Vec<String>,
}

/// A point for each arm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScatterSpec {
    /// What stands above it.
    pub title: String,
    /// To the right.
    pub x: NumberSpec,
    /// Upwards.
    pub y: NumberSpec,
}

/// What the report concludes, and what it rests on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conclusion {
    /// In words.
    pub text: String,
    /// Claims that decide, and observations that do not.
    #[serde(rename = "claim")]
    pub statements: Vec<Statement>,
}

/// A claim or observation, and what of ours decides on it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// In words.
    pub text: String,
    /// Whether it is shown without deciding on the conclusion.
    #[serde(default)]
    pub observation: bool,
    /// Whose records are read.
    pub experiment: String,
    /// The arm whose value decides.
    #[serde(default = "default_arm")]
    pub arm: String,
    /// Arms whose values are told with it.
    #[serde(default)]
    pub beside: Vec<String>,
    /// What the records must be of.
    #[serde(default)]
    pub device: Option<On>,
    /// What is measured.
    pub measure: Measure,
    /// The least value that holds.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// The greatest value that holds.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// How values are written.
    #[serde(default)]
    pub form: Form,
    /// The report's figure, as `row:column` of `report.toml`.
    #[serde(default)]
    pub reported: Option<String>,
    /// What else a reader must know.
    #[serde(default)]
    pub note: Option<String>,
}

impl Statement {
    /// The limits.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            at_least: self.at_least,
            at_most: self.at_most,
        }
    }
}

fn default_arm() -> String {
    "lookups".to_owned()
}

/// What is measured of an arm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Measure {
    /// What a goal of the experiment's specification names, with its limits.
    Goal(String),
    /// Tokens a second of what takes a quantity's seconds.
    Rate {
        /// The quantity.
        quantity: String,
        /// Tokens of a sequence.
        length: usize,
        /// Where sequences come from.
        source: String,
    },
    /// Numbers that the arm's cache keeps of so many tokens, as a share of dense, by definition.
    Cache {
        /// Tokens.
        length: usize,
    },
    /// The mean of a quantity over samples.
    Mean {
        /// The quantity, as records name it.
        quantity: String,
        /// Tokens of a sequence.
        length: usize,
        /// Where sequences come from; texts where absent.
        #[serde(default)]
        source: Option<String>,
    },
    /// That mean, divided by the mean of another arm on the same samples.
    Ratio {
        /// The quantity.
        quantity: String,
        /// Tokens of a sequence.
        length: usize,
        /// Where sequences come from; texts where absent.
        #[serde(default)]
        source: Option<String>,
        /// The other arm.
        over: String,
    },
    /// The length from which on the quantity stays below that of another arm.
    Crossover {
        /// The quantity.
        quantity: String,
        /// Where sequences come from.
        source: String,
        /// The other arm.
        over: String,
    },
    /// b of a·nᵇ.
    Exponent {
        /// The quantity.
        quantity: String,
        /// Where sequences come from.
        source: String,
        /// The shortest length that is fitted.
        from: usize,
    },
    /// The share of votes for the arm's summaries, those without a preference left out.
    Preference {
        /// The arm whose summaries were shown beside.
        over: String,
    },
    /// The share of the way from one arm's mean to another's, on the same samples.
    Gap {
        /// The quantity.
        quantity: String,
        /// Tokens of a sequence.
        length: usize,
        /// Where sequences come from; texts where absent.
        #[serde(default)]
        source: Option<String>,
        /// The arm at 0.
        before: String,
        /// The arm at 1.
        goal: String,
    },
}

impl Measure {
    /// The quantity that it reads; `None` where it reads none, or a goal's.
    pub fn quantity(&self) -> Option<&str> {
        match self {
            Self::Mean { quantity, .. }
            | Self::Ratio { quantity, .. }
            | Self::Rate { quantity, .. }
            | Self::Crossover { quantity, .. }
            | Self::Exponent { quantity, .. }
            | Self::Gap { quantity, .. } => Some(quantity),
            Self::Goal(_) | Self::Cache { .. } | Self::Preference { .. } => None,
        }
    }
}

impl Overview {
    /// Reads `assets/overview.toml`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where it cannot be read, or a statement has no limit or too many.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let overview: Self = parse(path, &read(path)?)?;
        let statements = overview.conclusions.iter().flat_map(|one| &one.statements);
        for statement in statements {
            let wrong = match (&statement.measure, statement.bounds().is_empty()) {
                (Measure::Goal(_), false) => "has limits, and those of its goal",
                (Measure::Goal(_), _) | (_, false) => continue,
                (_, true) => "has no limit",
            };
            return Err(spec_error(path, format!("“{}” {wrong}", statement.text)));
        }
        Ok(overview)
    }

    /// Checks that every quantity and goal that is read is declared.
    ///
    /// # Errors
    ///
    /// [`ReportError::Overview`] says which is not.
    pub fn check(&self, specs: &[Spec]) -> Result<(), ReportError> {
        let statements = self.conclusions.iter().flat_map(|one| &one.statements);
        let statements = statements.map(|one| (&one.text, &one.experiment, &one.measure));
        let numbers = self.cards.iter().flat_map(|card| &card.numbers);
        let points = self.scatters.iter().flat_map(|one| [&one.x, &one.y]);
        let numbers = numbers.chain(points);
        let numbers = numbers.map(|one| (&one.text, &one.experiment, &one.measure));
        for (text, experiment, measure) in statements.chain(numbers) {
            let mut own = specs
                .iter()
                .filter(|spec| spec.method.experiment == *experiment);
            let Some(spec) = own.next() else { continue };
            let wrong = match (measure, measure.quantity()) {
                (Measure::Goal(name), _) => {
                    let known = spec.goals.iter().any(|goal| goal.name == *name);
                    (!known).then(|| format!("there is no goal “{name}”"))
                }
                (_, Some(quantity)) => spec.layout.quantities.find(quantity).err(),
                _ => None,
            };
            if let Some(message) = wrong {
                return Err(ReportError::Overview {
                    text: text.clone(),
                    message,
                });
            }
        }
        Ok(())
    }
}
