//! What a row is about.

use crate::section::Role;
use crate::spec::ArmSpec;

/// What a row is about: an arm, or what arms are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// What records call it.
    pub id: String,
    /// What tables call it.
    pub label: String,
    /// The place of its colour.
    pub arm: Option<usize>,
    /// Whether it is the default arm.
    pub default: bool,
    /// Whether it may be the best.
    pub role: Role,
}

impl Subject {
    /// The arms of a specification; all but the dense one may be the best.
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

    /// What is no arm.
    pub fn other(id: &str, label: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: label.to_owned(),
            arm: None,
            default: false,
            role: Role::Beside,
        }
    }

    /// The same under another id, as after training.
    #[must_use]
    pub fn called(mut self, id: String) -> Self {
        self.id = id;
        self
    }
}
