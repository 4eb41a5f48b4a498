//! The subject of a row.

use crate::section::{Cell, Role, Row};
use crate::spec::ArmSpec;

/// The subject of a row: an arm or a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Its id in records.
    pub id: String,
    /// Its name in tables.
    pub label: String,
    /// The index of its colour.
    pub arm: Option<usize>,
    /// Whether it is the default arm.
    pub default: bool,
    /// Whether it competes for the best value.
    pub role: Role,
}

impl Subject {
    /// The arms of a specification; all except the dense one compete for the
    /// best value.
    pub fn arms(arms: &[ArmSpec]) -> Vec<Self> {
        let one = |(index, arm): (usize, &ArmSpec)| Self {
            id: arm.id.clone(),
            label: arm.label.clone(),
            arm: Some(index),
            default: arm.default,
            role: match arm.is_dense() {
                true => Role::Beside,
                false => Role::Competes,
            },
        };
        arms.iter().enumerate().map(one).collect()
    }

    /// A subject that is not an arm.
    pub fn other(id: &str, label: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: label.to_owned(),
            arm: None,
            default: false,
            role: Role::Beside,
        }
    }

    /// Its row of a table.
    pub fn row(&self, cells: Vec<Cell>) -> Row {
        Row {
            head: self.label.clone(),
            arm: self.arm,
            default: self.default,
            role: self.role,
            cells,
        }
    }
}

/// A line of a chart whose points are different models.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its label and colour, and whether it is emphasised as the default.
    pub subject: Subject,
    /// Values, and the ids of their models in records.
    pub points: Vec<(usize, String)>,
}
