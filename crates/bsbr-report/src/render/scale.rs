//! Axes of charts.

use serde::Deserialize;

use crate::estimate::Estimate;
use crate::style::superscript;

/// An axis from 0 to 1 starts below its values if all are above this.
const UPPER: f64 = 0.5;

/// Any other axis does if most values are above this share of it.
const MOSTLY_UPPER: f64 = 0.7;

/// The kind of a chart's axis, before its values are known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(try_from = "String")]
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

impl TryFrom<String> for ScaleSpec {
    type Error = String;

    /// A scale by its name and optional number: `log 1e-6`.
    fn try_from(text: String) -> Result<Self, String> {
        let (name, number) = text.split_once(' ').unwrap_or((&text, ""));
        let known = match name {
            "unit" => Some(Self::Unit),
            "linear" => Some(Self::Linear),
            "decades" => Some(Self::Decades),
            "log" => number.parse().ok().map(Self::Log),
            "nines" => number.parse().ok().map(Self::Nines),
            _ => None,
        };
        known.ok_or_else(|| {
            format!(
                "`{text}` is not a scale; there are unit, linear, decades, log FLOOR and nines N"
            )
        })
    }
}

impl ScaleSpec {
    /// The axis for some values.
    pub fn over<'a>(self, values: impl Iterator<Item = &'a Estimate> + Clone) -> Scale {
        let ends = || values.clone().map(Estimate::ends);
        let low = ends().map(|[low, _]| low).fold(f64::INFINITY, f64::min);
        let high = ends().map(|[_, high]| high).fold(0.0, f64::max);
        match self {
            Self::Unit => Scale::Linear {
                low: match low.is_finite() && low > UPPER {
                    true => round_below(low, 1.0),
                    false => 0.0,
                },
                high: 1.0,
            },
            Self::Linear => Scale::Linear {
                low: 0.0,
                high: high.max(1.0).ceil(),
            },
            Self::Log(floor) => Scale::log(floor, high),
            Self::Decades => {
                let means = values.map(|found| found.mean).filter(|mean| *mean > 0.0);
                Scale::decades(means.fold(high.max(f64::MIN_POSITIVE), f64::min), high)
            }
            Self::Nines(most) => Scale::Nines { most },
        }
    }
}

/// A round start below `low` for an axis up to `high`.
fn round_below(low: f64, high: f64) -> f64 {
    let room = (high - low).max(1e-6);
    let step = 10f64.powf(room.log10().floor());
    ((low / step).floor() * step).max(0.0)
}

/// The ends of a linear axis of values, with `top` for the highest. It starts below most values if
/// that is in its upper part, else at 0. A few values far below the rest do not compress it.
pub(super) fn range<'a>(
    values: impl Iterator<Item = &'a Estimate>,
    top: impl Fn(f64) -> f64,
) -> [f64; 2] {
    let ends = values.map(|found| <(f64, f64)>::from(found.ends()));
    let (mut lows, highs): (Vec<f64>, Vec<f64>) = ends.unzip();
    let top = top(highs.into_iter().fold(0.0, f64::max));
    lows.sort_unstable_by(f64::total_cmp);
    let is_upper = |low: &&f64| **low > MOSTLY_UPPER * top;
    let mostly = lows.get(lows.len() / 4).as_ref().is_some_and(is_upper);
    let first = lows.iter().find(is_upper).filter(|_| mostly);
    [first.map_or(0.0, |low| round_below(*low, top)), top]
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
        assert!((round_below(0.944, 1.0) - 0.94).abs() < 1e-9);
        assert!((round_below(0.62, 1.0) - 0.6).abs() < 1e-9);
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
        let scale = |name: &str| ScaleSpec::try_from(name.to_owned());
        assert_eq!(scale("log 1e-3"), Ok(ScaleSpec::Log(1e-3)));
        assert!(scale("log").is_err());
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
