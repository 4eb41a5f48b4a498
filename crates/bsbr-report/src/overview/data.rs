//! Conclusions and statements as `assets/overview.toml` has them.

use std::path::Path;

use serde::Deserialize;

use crate::error::ReportError;
use crate::host::On;
use crate::reported::Form;
use crate::spec::{Bounds, parse, read, spec_error};

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
    /// The id of the report's number.
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
    /// What a bar of the experiment's specification names, with its limits.
    Bar(String),
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverviewFile {
    #[serde(default, rename = "conclusion")]
    conclusions: Vec<Conclusion>,
}

/// Reads `assets/overview.toml`.
///
/// # Errors
///
/// [`ReportError`] where it cannot be read, or a statement has no limit or too many.
pub fn read_overview(path: &Path) -> Result<Vec<Conclusion>, ReportError> {
    let file: OverviewFile = parse(path, &read(path)?)?;
    let statements = file.conclusions.iter().flat_map(|one| &one.statements);
    for statement in statements {
        let wrong = match (&statement.measure, statement.bounds().is_empty()) {
            (Measure::Bar(_), false) => "has limits, and those of its bar",
            (Measure::Bar(_), _) | (_, false) => continue,
            (_, true) => "has no limit",
        };
        return Err(spec_error(path, format!("“{}” {wrong}", statement.text)));
    }
    Ok(file.conclusions)
}
