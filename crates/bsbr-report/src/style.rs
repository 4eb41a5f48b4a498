//! Numbers as text.

use serde::Deserialize;

/// The format of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Style {
    /// A share as a percentage with this many decimals.
    Percent(usize),
    /// This many decimals.
    Fixed(usize),
    /// This many significant digits.
    Digits(usize),
    /// Bytes as MiB with one decimal.
    Mebibytes,
    /// Seconds as milliseconds with three significant digits.
    Milliseconds,
    /// Whole tokens.
    Tokens,
}

impl Default for Style {
    /// Three significant digits.
    fn default() -> Self {
        Self::Digits(3)
    }
}

impl Style {
    /// The number, without a unit.
    pub fn number(self, value: f64) -> String {
        let number = match self {
            Self::Percent(decimals) => format!("{:.decimals$}", value * 100.0),
            Self::Fixed(decimals) => format!("{value:.decimals$}"),
            Self::Digits(digits) => significant(value, digits),
            Self::Mebibytes => format!("{:.1}", value / f64::from(1 << 20)),
            Self::Milliseconds => significant(value * 1e3, 3),
            Self::Tokens => format!("{value:.0}"),
        };
        typeset(&number)
    }

    /// A standard deviation, with the precision of `of` in this style.
    pub fn beside(self, value: f64, of: f64) -> String {
        let (number, power) = self.aligned(value, of);
        number + &power
    }

    /// The ends of an interval in brackets, with the precision of `of` in this style.
    pub fn between(self, ends: [f64; 2], of: f64, [open, close]: [char; 2]) -> String {
        let [(low, power), (high, _)] = ends.map(|end| self.aligned(end, of));
        format!("{open}{low}, {high}{close}{power}")
    }

    /// A number with the precision of `of`, and the power of ten that both are multiples of.
    fn aligned(self, value: f64, of: f64) -> (String, String) {
        let digits = match self {
            Self::Milliseconds => return Self::Digits(3).aligned(value * 1e3, of * 1e3),
            Self::Digits(digits) => digits,
            _ => return (self.number(value), String::new()),
        };
        let number = |decimals: usize, value: f64| typeset(&format!("{value:.decimals$}"));
        if let Some(decimals) = decimals(of, digits) {
            return (number(decimals, value), String::new());
        }
        match exponent(of, digits) {
            None => (self.number(value), String::new()),
            Some(exponent) => {
                let mantissa = number(digits.saturating_sub(1), value / 10f64.powi(exponent));
                (mantissa, power_of_ten(exponent))
            }
        }
    }

    /// The suffix of the number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Percent(_) => " %",
            Self::Tokens => " tokens",
            _ => "",
        }
    }

    /// The number with its suffix.
    pub fn with_unit(self, value: f64) -> String {
        format!("{}{}", self.number(value), self.unit())
    }
}

impl TryFrom<String> for Style {
    type Error = String;

    /// A style by its name and optional number of digits: `percent 2`.
    fn try_from(text: String) -> Result<Self, String> {
        let (name, digits) = match text.split_once(' ') {
            Some((name, digits)) => (name, digits.parse().ok()),
            None => (text.as_str(), None),
        };
        match (name, digits) {
            ("percent", Some(digits)) => Ok(Self::Percent(digits)),
            ("fixed", Some(digits)) => Ok(Self::Fixed(digits)),
            ("digits", Some(digits)) => Ok(Self::Digits(digits)),
            ("mebibytes", None) => Ok(Self::Mebibytes),
            ("milliseconds", None) => Ok(Self::Milliseconds),
            ("tokens", None) => Ok(Self::Tokens),
            ("percent" | "fixed" | "digits", None) => {
                Err(format!("`{text}` needs a number of digits, as `{name} 2`"))
            }
            _ => Err(format!(
                "`{text}` is not a style; there are percent, fixed, digits, mebibytes, \
                 milliseconds and tokens"
            )),
        }
    }
}

/// A number with a true minus sign instead of a hyphen and none before zero, in groups of
/// digits.
fn typeset(number: &str) -> String {
    let (sign, size) = match number.strip_prefix('-') {
        Some(size) if size.bytes().all(|b| matches!(b, b'0' | b'.')) => ("", size),
        Some(size) => ("−", size),
        None => ("", number),
    };
    let whole = size.split('.').next().unwrap_or_default();
    match whole.parse().map(grouped) {
        Ok(grouped) => format!("{sign}{grouped}{}", &size[whole.len()..]),
        Err(_) => format!("{sign}{size}"),
    }
}

/// `digits` significant digits: 0.00412, or 4.12 × 10⁻⁵ if that is more readable.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}");
    }
    if let Some(decimals) = decimals(value, digits) {
        return format!("{value:.decimals$}");
    }
    let last = digits.saturating_sub(1);
    let exponent = exponent(value, digits).unwrap_or_default();
    let mantissa = value / 10f64.powi(exponent);
    format!("{mantissa:.last$}{}", power_of_ten(exponent))
}

fn power_of_ten(exponent: i32) -> String {
    format!(" × 10{}", superscript(exponent))
}

/// Decimals that show `digits` significant digits; `None` if a power of ten is more readable.
fn decimals(value: f64, digits: usize) -> Option<usize> {
    let exponent = exponent(value, digits)?;
    let last = digits.saturating_sub(1) as i32;
    (-4..=5)
        .contains(&exponent)
        .then(|| (last - exponent).max(0) as usize)
}

/// The power of ten of a number's first digit; `None` for 0.
fn exponent(value: f64, digits: usize) -> Option<i32> {
    if value == 0.0 || !value.is_finite() {
        return None;
    }
    let last = digits.saturating_sub(1);
    // After rounding: 9.996 to three digits is 10.0.
    format!("{value:.last$e}").split_once('e')?.1.parse().ok()
}

/// A whole number in superscript digits.
pub(crate) fn superscript(number: i32) -> String {
    number
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            // ⁴ to ⁹, and ⁰, are consecutive.
            digit => char::from_u32(0x2070 + (digit as u32 - '0' as u32)).unwrap_or(digit),
        })
        .collect()
}

/// A whole number in groups of digits: 16,384.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<&str> = groups
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_read_by_name() {
        let style = |name: &str| Style::try_from(name.to_owned());
        assert_eq!(style("percent 2"), Ok(Style::Percent(2)));
        assert_eq!(style("mebibytes"), Ok(Style::Mebibytes));
        assert!(style("percent").unwrap_err().contains("digits"));
        assert!(style("roman").unwrap_err().contains("roman"));
    }

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!(Style::Percent(1).number(0.98349), "98.3");
        assert_eq!(Style::Fixed(4).number(0.99), "0.9900");
        assert_eq!(Style::Digits(3).number(0.000_412_3), "0.000412");
        assert_eq!(Style::Digits(3).number(0.000_041_23), "4.12 × 10⁻⁵");
        assert_eq!(Style::Digits(2).number(1_234_567.0), "1.2 × 10⁶");
        assert_eq!(Style::Digits(3).number(4.07), "4.07");
        assert_eq!(
            [0.000_63, 0.0123, 15.8341].map(|one| Style::Milliseconds.number(one)),
            ["0.630", "12.3", "15,834"]
        );
        assert_eq!(Style::Fixed(1).number(-20_000.44), "−20,000.4");
        assert_eq!(Style::Fixed(0).number(8192.0), "8,192");
        assert_eq!(Style::Percent(1).number(-0.15), "−15.0");
        assert_eq!(Style::Percent(1).number(-0.0001), "0.0");
        assert_eq!(Style::Digits(3).number(0.0), "0");
        assert_eq!(Style::Digits(3).number(9.996), "10.0");
        assert_eq!(Style::Digits(3).beside(0.000_067, 0.000_405), "0.000067");
        assert_eq!(Style::Digits(3).beside(0.5, 4.07), "0.50");
        assert_eq!(Style::Digits(3).beside(4e-6, 4.07e-5), "0.40 × 10⁻⁵");
        let ends = |ends, of| Style::Digits(3).between(ends, of, ['[', ']']);
        assert_eq!(ends([3.9e-5, 1.23e-4], 4.07e-5), "[3.90, 12.30] × 10⁻⁵");
        assert_eq!(ends([0.4, 0.5], 4.07), "[0.40, 0.50]");
        assert_eq!(ends([0.0, 0.5], 0.0), "[0, 0.500]");
    }
}
