//! Which arm each layer is converted to.

use std::ops::RangeInclusive;

use bsbr_attention::ArmConfig;
use serde_json::Value;

/// The arm of every layer: one for all, and exceptions.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversionPlan {
    base: ArmConfig,
    exceptions: Vec<(RangeInclusive<usize>, ArmConfig)>,
}

/// A plan that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Something that is not `layers=arm`.
    #[error("`{part}`: expected layers=arm, such as 0-5=moments or 3=dense")]
    Syntax {
        /// The part of the plan.
        part: String,
    },
    /// A range that counts down.
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
    /// A name that is no arm.
    #[error("unknown arm `{name}`, expected dense, local, published or moments")]
    UnknownArm {
        /// The name.
        name: String,
    },
    /// A setting that the arm does not have, or with a value that it cannot have.
    #[error("arm {arm}: {message}")]
    Setting {
        /// The arm.
        arm: String,
        /// What is wrong.
        message: String,
    },
}

impl ConversionPlan {
    /// The same arm for every layer.
    pub fn uniform(arm: ArmConfig) -> Self {
        Self {
            base: arm,
            exceptions: Vec::new(),
        }
    }

    /// The same plan with `arm` in one layer, whatever that had before; layers are counted from 0.
    #[must_use]
    pub fn with_layer(mut self, layer: usize, arm: ArmConfig) -> Self {
        // The first exception that names a layer is the one that counts.
        self.exceptions.insert(0, (layer..=layer, arm));
        self
    }

    /// A plan from the text of command-line options.
    ///
    /// `arm` is a name with settings after colons, such as `moments:chunk_size=64:clusters=16`;
    /// settings not given have their defaults. `layers` lists exceptions,
    /// `0-5=moments,6-11=dense`: layers are counted from 0, and a range includes its last. An
    /// exception of the same arm as `arm` starts from its settings.
    ///
    /// # Errors
    ///
    /// [`PlanError`] shows the part that cannot be understood.
    pub fn parse(arm: &str, layers: Option<&str>) -> Result<Self, PlanError> {
        let base = parse_arm(arm, None)?;
        let mut exceptions: Vec<(RangeInclusive<usize>, ArmConfig)> = Vec::new();
        for part in layers.unwrap_or_default().split(',') {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
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
            if let Some((other, _)) = exceptions
                .iter()
                .find(|(other, _)| first <= *other.end() && *other.start() <= last)
            {
                return Err(PlanError::Twice {
                    layer: first.max(*other.start()),
                });
            }
            exceptions.push((first..=last, parse_arm(arm, Some(&base))?));
        }
        Ok(Self { base, exceptions })
    }

    /// The arm of each of `n_layer` layers.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoSuchLayer`] where the plan names a layer beyond the last.
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

/// `name:setting=value:…`, on top of `base` where that is the same arm.
fn parse_arm(text: &str, base: Option<&ArmConfig>) -> Result<ArmConfig, PlanError> {
    let mut parts = text.trim().split(':');
    let name = parts.next().unwrap_or_default().trim();
    let wrong = |message: String| PlanError::Setting {
        arm: name.into(),
        message,
    };
    let unknown = || PlanError::UnknownArm { name: name.into() };
    let start = match base.filter(|base| base.name() == name) {
        Some(base) => base.clone(),
        None => ArmConfig::named(name).ok_or_else(unknown)?,
    };
    let mut object = match serde_json::to_value(start) {
        Ok(Value::Object(object)) => object,
        _ => return Err(unknown()),
    };
    for part in parts {
        let (setting, value) = part
            .split_once('=')
            .ok_or_else(|| wrong(format!("`{part}`: expected setting=value")))?;
        let value = serde_json::from_str(value.trim()).map_err(|_| {
            wrong(format!(
                "`{part}`: the value is neither a number nor true or false"
            ))
        })?;
        object.insert(setting.trim().into(), value);
    }
    serde_json::from_value(Value::Object(object)).map_err(|e| wrong(e.to_string()))
}
