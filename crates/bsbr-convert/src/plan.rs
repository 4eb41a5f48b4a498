//! The target arm of each layer.

use std::ops::RangeInclusive;
use std::str::FromStr;

use bsbr_attention::{ArmConfig, ArmError, split_arms};

/// The arm of every layer: one default and exceptions.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversionPlan {
    base: ArmConfig,
    exceptions: Vec<(RangeInclusive<usize>, ArmConfig)>,
}

/// An invalid plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A part that is not `layers=arm`.
    #[error("`{part}`: expected layers=arm, such as 0-5=moments or 3=dense")]
    Syntax {
        /// The part of the plan.
        part: String,
    },
    /// A descending range.
    #[error("`{part}`: layer {first} comes after layer {last}; write the smaller one first")]
    Reversed {
        /// The part of the plan.
        part: String,
        /// Its first layer.
        first: usize,
        /// Its last layer.
        last: usize,
    },
    /// A layer with two arms.
    #[error("layer {layer} is named twice; give each layer one arm")]
    Twice {
        /// The layer.
        layer: usize,
    },
    /// A layer that the model does not have.
    #[error("layer {layer} is named but the model has layers 0 to {last}")]
    NoSuchLayer {
        /// The layer.
        layer: usize,
        /// The model's last layer.
        last: usize,
    },
    /// An invalid arm.
    #[error(transparent)]
    Arm(#[from] ArmError),
}

impl ConversionPlan {
    /// The same arm for every layer.
    pub fn uniform(arm: ArmConfig) -> Self {
        Self {
            base: arm,
            exceptions: Vec::new(),
        }
    }

    /// The same plan with `arm` in one layer, whatever it was before; layers count from 0.
    #[must_use]
    pub fn with_layer(mut self, layer: usize, arm: ArmConfig) -> Self {
        // The first exception for a layer takes precedence.
        self.exceptions.insert(0, (layer..=layer, arm));
        self
    }

    /// `arm` in all layers except those of `exceptions`.
    pub fn new(arm: ArmConfig, exceptions: LayerArms) -> Self {
        Self {
            base: arm,
            exceptions: exceptions.0,
        }
    }

    /// A plan from the texts of an arm and of [`LayerArms`].
    ///
    /// # Errors
    ///
    /// [`PlanError`] shows the part that is invalid.
    pub fn parse(arm: &str, layers: Option<&str>) -> Result<Self, PlanError> {
        let exceptions = layers.map(str::parse).transpose()?;
        Ok(Self::new(arm.parse()?, exceptions.unwrap_or_default()))
    }

    /// The arm of each of `n_layer` layers.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoSuchLayer`] if the plan names a layer that does not exist.
    pub fn arms(&self, n_layer: usize) -> Result<Vec<ArmConfig>, PlanError> {
        if let Some(layer) = self
            .exceptions
            .iter()
            .map(|(range, _)| *range.end())
            .find(|&layer| layer >= n_layer)
        {
            return Err(PlanError::NoSuchLayer {
                layer,
                last: n_layer.saturating_sub(1),
            });
        }
        let arm = |layer: usize| {
            self.exceptions
                .iter()
                .find(|(range, _)| range.contains(&layer))
                .map_or(&self.base, |(_, arm)| arm)
                .clone()
        };
        Ok((0..n_layer).map(arm).collect())
    }
}

/// Arms of some layers, as in `0-5=moments:clusters=16,kv_bits=4,7=dense`: layers count from 0,
/// and a range includes its last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerArms(Vec<(RangeInclusive<usize>, ArmConfig)>);

impl FromStr for LayerArms {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut found: Vec<(RangeInclusive<usize>, ArmConfig)> = Vec::new();
        for part in split_arms(text) {
            let syntax = || PlanError::Syntax { part: part.into() };
            let (range, arm) = part.split_once('=').ok_or_else(syntax)?;
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| syntax());
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(PlanError::Reversed {
                    part: part.into(),
                    first,
                    last,
                });
            }
            if let Some((other, _)) = found
                .iter()
                .find(|(other, _)| first <= *other.end() && *other.start() <= last)
            {
                return Err(PlanError::Twice {
                    layer: first.max(*other.start()),
                });
            }
            found.push((first..=last, arm.parse()?));
        }
        Ok(Self(found))
    }
}
