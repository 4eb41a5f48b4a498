//! Vertical axes of charts.

use crate::section::superscript;

/// How values are placed on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Evenly between two values.
    Linear {
        /// The lowest value.
        low: f64,
        /// The highest value.
        high: f64,
    },
    /// By decades; what is below `floor` lies on it.
    Log {
        /// A power of ten.
        floor: f64,
        /// The highest value.
        top: f64,
    },
    /// By nines: 0.9, 0.99, 0.999 are evenly spaced. For shares and cosines near 1.
    Nines {
        /// Nines at the top; what is closer to 1 lies on it.
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

    /// A scale of the decades that hold all from `low`, which is above zero, to `high`.
    pub fn decades(low: f64, high: f64) -> Self {
        Self::log(10f64.powf(low.log10().floor()), high)
    }

    /// The place of a value, from 0 at the bottom to 1 at the top.
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

    /// Ticks with their places.
    pub fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Self::Linear { low, high } => (0..=4)
                .map(|i| {
                    let place = f64::from(i) / 4.0;
                    (place, format!("{:.2}", low + (high - low) * place))
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
