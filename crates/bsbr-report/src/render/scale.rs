//! Vertical axes of charts.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::estimate::Estimate;
use crate::section::superscript;

/// An axis that need not start at 0 does so only if the values leave at most this share empty below
/// them.
const EMPTY: f64 = 0.5;

/// The kind of a chart's axis, before its values are known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ScaleSpec {
    /// From 0 to 1, or its upper part if all values are in the upper half.
    #[default]
    Unit,
    /// From 0 to the highest value, at least 1.
    Linear,
    /// Decades from this value on.
    Log(f64),
    /// The decades of the values.
    Decades,
    /// This many nines.
    Nines(u32),
}

impl FromStr for ScaleSpec {
    type Err = String;

    /// A scale by its name and optional number: `log 1e-6`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(' ').unwrap_or((text, ""));
        let wrong = || {
            format!(
                "`{text}` is not a scale; there are unit, linear, decades, log FLOOR and nines \
                     N"
            )
        };
        Ok(match name {
            "unit" => Self::Unit,
            "linear" => Self::Linear,
            "decades" => Self::Decades,
            "log" => Self::Log(number.parse().map_err(|_| wrong())?),
            "nines" => Self::Nines(number.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        })
    }
}

impl<'de> Deserialize<'de> for ScaleSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl ScaleSpec {
    /// The axis for some values.
    pub fn over<'a>(self, values: impl Iterator<Item = &'a Estimate> + Clone) -> Scale {
        let points = || values.clone();
        let high = points()
            .map(|found| found.interval.map_or(found.mean, |ends| ends.high))
            .fold(0.0, f64::max);
        let low = points()
            .map(|found| found.interval.map_or(found.mean, |ends| ends.low))
            .fold(f64::INFINITY, f64::min);
        match self {
            Self::Unit if low.is_finite() && low > EMPTY => Scale::Linear {
                low: begins(low, 1.0),
                high: 1.0,
            },
            Self::Unit => Scale::Linear {
                low: 0.0,
                high: 1.0,
            },
            Self::Linear => Scale::Linear {
                low: 0.0,
                high: high.max(1.0).ceil(),
            },
            Self::Log(floor) => Scale::log(floor, high),
            Self::Decades => {
                let means = points().map(|found| found.mean).filter(|mean| *mean > 0.0);
                Scale::decades(means.fold(high.max(f64::MIN_POSITIVE), f64::min), high)
            }
            Self::Nines(most) => Scale::Nines { most },
        }
    }
}

/// A round start below `low` for an axis up to `high`.
pub(crate) fn begins(low: f64, high: f64) -> f64 {
    let room = (high - low).max(1e-6);
    let step = 10f64.powf(room.log10().floor());
    ((low / step).floor() * step).max(0.0)
}

/// The positions of values on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Linear between two values.
    Linear {
        /// The lowest value.
        low: f64,
        /// The highest value.
        high: f64,
    },
    /// Logarithmic; values below `floor` are at the floor.
    Log {
        /// A power of ten.
        floor: f64,
        /// The highest value.
        top: f64,
    },
    /// By nines: 0.9, 0.99, 0.999 are evenly spaced, for shares and cosines near 1.
    Nines {
        /// Nines at the top; values closer to 1 are there too.
        most: u32,
    },
}

impl Scale {
    /// A scale of decades for values up to `top`.
    pub fn log(floor: f64, top: f64) -> Self {
        let decades = top.max(floor * 10.0).log10().ceil();
        Self::Log {
            floor,
            top: 10f64.powf(decades),
        }
    }

    /// A scale of the decades from `low`, which is above zero, to `high`.
    pub fn decades(low: f64, high: f64) -> Self {
        Self::log(10f64.powf(low.log10().floor()), high)
    }

    /// The position of a value, from 0 at the bottom to 1 at the top.
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { floor, top } => (value.max(floor) / floor).log10() / (top / floor).log10(),
            Self::Nines { most } => {
                let rest = (1.0 - value).clamp(10f64.powi(-(most as i32)), 1.0);
                -rest.log10() / f64::from(most)
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// Ticks with their positions.
    pub fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Self::Linear { low, high } => (0..=4)
                .map(|i| {
                    let place = f64::from(i) / 4.0;
                    let decimals = if high - low < 0.2 { 3 } else { 2 };
                    (place, format!("{:.decimals$}", low + (high - low) * place))
                })
                .collect(),
            Self::Log { floor, top } => {
                let (low, high) = (floor.log10().round() as i32, top.log10().round() as i32);
                (low..=high)
                    .map(|exponent| {
                        let bound = if exponent == low { "≤ " } else { "" };
                        let name = format!("{bound}{}", power_of_ten(exponent));
                        (self.place(10f64.powi(exponent)), name)
                    })
                    .collect()
            }
            Self::Nines { most } => (0..=most)
                .map(|nines| {
                    let name = match nines {
                        0 => "≤ 0".to_owned(),
                        _ => format!("0.{}", "9".repeat(nines as usize)),
                    };
                    (f64::from(nines) / f64::from(most), name)
                })
                .collect(),
        }
    }
}

fn power_of_ten(exponent: i32) -> String {
    match exponent {
        0..=3 => format!("{}", 10i64.pow(exponent as u32)),
        -3..=-1 => format!(
            "{:.*}",
            exponent.unsigned_abs() as usize,
            10f64.powi(exponent)
        ),
        _ => format!("10{}", superscript(exponent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_where_the_values_do() {
        assert!((begins(0.944, 1.0) - 0.94).abs() < 1e-9);
        assert!((begins(0.62, 1.0) - 0.6).abs() < 1e-9);
        let value = |low: f64| Estimate::of(&[low]).unwrap();
        let Scale::Linear { low, .. } = ScaleSpec::Unit.over([value(0.97)].iter()) else {
            panic!("not linear");
        };
        assert!((low - 0.97).abs() < 1e-9);
        assert_eq!(
            ScaleSpec::Unit.over([value(0.3)].iter()),
            Scale::Linear {
                low: 0.0,
                high: 1.0
            }
        );
        assert_eq!("log 1e-3".parse(), Ok(ScaleSpec::Log(1e-3)));
        assert!("log".parse::<ScaleSpec>().is_err());
    }

    #[test]
    fn decades_and_nines_are_evenly_spaced() {
        let log = Scale::log(1e-4, 4.0);
        assert!((log.place(1e-3) - 0.2).abs() < 1e-12);
        assert_eq!(log.place(0.0), 0.0);
        assert_eq!(log.ticks().len(), 6);
        assert_eq!(log.ticks()[0].1, "≤ 10⁻⁴");
        assert_eq!(Scale::decades(0.003, 0.2), Scale::log(1e-3, 0.2));
        let nines = Scale::Nines { most: 4 };
        assert!((nines.place(0.99) - 0.5).abs() < 1e-12);
        assert_eq!(nines.place(1.0), 1.0);
        assert_eq!(nines.place(-0.3), 0.0);
    }
}
