//! The numbers of the research report that ours are compared with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ReportError;
use crate::record::{Pool, Records};
use crate::section::{Cell, Comparison, Style};
use crate::spec::{ArmSpec, parse, read, spec_error};

/// What stands where the report's number is not known.
const ABSENT: &str = "—, the report's figure is not at hand";

/// A number of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// A name for it.
    pub id: String,
    /// The experiment that measures the same.
    pub experiment: String,
    /// Where the report says it: table, figure or section.
    pub table: String,
    /// The quantity, as records name it.
    pub quantity: String,
    /// The quantity in words.
    pub name: String,
    /// The model it was measured on.
    pub model: String,
    /// The arm of ours that it is about.
    pub arm: String,
    /// Tokens of a sequence in our measurement.
    pub length: usize,
    /// The number; absent where it is not at hand.
    #[serde(default)]
    pub value: Option<f64>,
    /// The sentence of the report that gives it.
    #[serde(default)]
    pub sentence: Option<String>,
    /// How it is written.
    #[serde(default)]
    pub form: Form,
}

/// How a reported number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A share, as a percentage.
    Percent,
    /// Three significant digits.
    #[default]
    Number,
    /// Four decimals, for cosines.
    Cosine,
    /// Two decimals, for ratios and exponents.
    Ratio,
    /// Whole tokens.
    Tokens,
}

impl Form {
    /// The style that it is.
    pub fn style(self) -> Style {
        match self {
            Self::Percent => Style::Percent(1),
            Self::Number => Style::Digits(3),
            Self::Cosine => Style::Fixed(4),
            Self::Ratio => Style::Fixed(2),
            Self::Tokens => Style::Tokens,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimsFile {
    #[serde(default, rename = "claim")]
    claims: Vec<Claim>,
}

/// Reads `assets/reported.toml`.
///
/// # Errors
///
/// [`ReportError`] where it cannot be read, names a claim twice or an experiment that is not there.
pub fn read_claims(path: &Path) -> Result<Vec<Claim>, ReportError> {
    let file: ClaimsFile = parse(path, &read(path)?)?;
    for (index, claim) in file.claims.iter().enumerate() {
        crate::experiments::version(&claim.experiment)?;
        if file.claims[..index]
            .iter()
            .any(|other| other.id == claim.id)
        {
            return Err(spec_error(
                path,
                format!("claim `{}` is there twice", claim.id),
            ));
        }
    }
    Ok(file.claims)
}

/// The report's numbers beside what the records say.
pub fn compare(claims: &[Claim], arms: &[ArmSpec], records: &Records) -> Vec<Comparison> {
    claims
        .iter()
        .map(|claim| {
            let style = claim.form.style();
            let ours: BTreeMap<String, Cell> = arms
                .iter()
                .map(|arm| {
                    let found =
                        records.estimate(&arm.id, Pool::Texts, claim.length, &claim.quantity);
                    (arm.id.clone(), Cell::of(found, style))
                })
                .collect();
            let source = match &claim.sentence {
                Some(sentence) => format!("{}, {}: “{sentence}”", claim.table, claim.model),
                None => format!("{}, {}", claim.table, claim.model),
            };
            Comparison {
                quantity: claim.name.clone(),
                source,
                reported: match claim.value {
                    Some(value) => Cell::Number(value, style),
                    None => Cell::Text(ABSENT.to_owned()),
                },
                ours,
                verdict: verdict(claim, arms, records),
            }
        })
        .collect()
}

/// Whether the report's number lies in the interval of ours.
fn verdict(claim: &Claim, arms: &[ArmSpec], records: &Records) -> String {
    let ours = records.estimate(&claim.arm, Pool::Texts, claim.length, &claim.quantity);
    let interval = ours.ok().and_then(|e| e.interval);
    let arm = arms.iter().find(|arm| arm.id == claim.arm);
    let label = arm.map_or(claim.arm.as_str(), |arm| arm.label.as_str());
    match (claim.value, interval) {
        (None, _) => "—, nothing to compare with".to_owned(),
        (_, None) => format!("—, no interval for {label}"),
        (Some(value), Some(interval)) if interval.contains(value) => {
            format!("within our interval for {label}")
        }
        (Some(value), Some(interval)) if value < interval.low => {
            format!("below our interval for {label}")
        }
        _ => format!("above our interval for {label}"),
    }
}
