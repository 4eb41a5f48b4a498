//! Verdicts on measurements and limits, by the whole interval.

use bsbr_metrics::stats::Interval;
use serde::{Deserialize, Serialize};

use crate::section::{Cell, Verdict};
use crate::style::Style;
use crate::style::grouped;

/// The verdict on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The whole 95 % interval is within the limits.
    Holds,
    /// The whole 95 % interval is beyond them.
    Misses,
    /// The interval is on both sides; about this many samples would decide if the mean stays the
    /// same.
    Undecided(Option<usize>),
    /// There is one sample, which has no interval.
    Unrepeated,
    /// Nothing was measured.
    NotMeasured,
}

impl Judgement {
    /// Whether something was measured that decides nothing.
    pub fn is_undecided(self) -> bool {
        matches!(self, Self::Undecided(_) | Self::Unrepeated)
    }

    /// As text, with the number of samples that would decide.
    pub fn words(self) -> String {
        let words = match self {
            Self::Holds => "holds",
            Self::Misses => "misses",
            Self::Undecided(Some(n)) => {
                return format!("undecided: about {} samples would decide", rounded(n));
            }
            Self::Undecided(None) => "undecided",
            Self::Unrepeated => "undecided: one sample has no interval",
            Self::NotMeasured => "not measured",
        };
        words.to_owned()
    }
}

/// A number rounded to two significant digits, grouped: 45,611 as 46,000.
fn rounded(number: usize) -> String {
    let unit = 10usize.pow(number.max(1).ilog10().saturating_sub(1));
    grouped((number.div_ceil(unit) * unit) as u64)
}

/// Limits of a value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bounds {
    /// The minimum that passes.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// The maximum that passes.
    #[serde(default)]
    pub at_most: Option<f64>,
}

impl Bounds {
    /// Whether there is no limit.
    pub fn is_empty(&self) -> bool {
        self.at_least.is_none() && self.at_most.is_none()
    }

    /// Whether a value passes.
    fn hold(&self, value: f64) -> bool {
        self.at_least.is_none_or(|least| value >= least)
            && self.at_most.is_none_or(|most| value <= most)
    }

    /// The verdict on a claim about an arm's number.
    pub(crate) fn verdict(&self, claim: &str, arm: &str, measured: Cell, style: Style) -> Verdict {
        Verdict {
            claim: claim.to_owned(),
            arm: arm.to_owned(),
            of_default: false,
            required: self.words(style),
            judgement: self.judge(&measured),
            measured,
            observation: false,
            section: None,
            why: String::new(),
        }
    }

    /// Judges a cell. One without samples is judged by its value alone.
    pub fn judge(&self, cell: &Cell) -> Judgement {
        let Some(value) = cell.value() else {
            return Judgement::NotMeasured;
        };
        match (cell.interval(), cell.samples()) {
            (Some(interval), samples) => self.judge_interval(value, interval, samples),
            (None, Some(_)) => Judgement::Unrepeated,
            (None, None) if self.hold(value) => Judgement::Holds,
            (None, None) => Judgement::Misses,
        }
    }

    /// The index of the cell that decides on several, of which all must hold: the one with the
    /// worst judgement, and among those the one that is farthest beyond the limits.
    pub fn worst<'a>(&self, cells: impl Iterator<Item = &'a Cell>) -> Option<usize> {
        let badness = |cell: &Cell| {
            let rank = match self.judge(cell) {
                Judgement::Holds => 0,
                Judgement::Undecided(_) | Judgement::Unrepeated => 1,
                Judgement::NotMeasured => 2,
                Judgement::Misses => 3,
            };
            let value = cell.value().unwrap_or_default();
            let under = self.at_least.map(|least| least - value);
            let over = self.at_most.map(|most| value - most);
            let beyond = under.into_iter().chain(over);
            (rank, beyond.fold(f64::NEG_INFINITY, f64::max))
        };
        let all = cells.map(badness).enumerate();
        let worst = all.max_by(|(_, a), (_, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        worst.map(|(index, _)| index)
    }

    fn judge_interval(&self, value: f64, ends: Interval, samples: Option<usize>) -> Judgement {
        if self.hold(ends.low) && self.hold(ends.high) {
            return Judgement::Holds;
        }
        let beyond = |limit: Option<f64>, is: fn(f64, f64) -> bool, end: f64| {
            limit.is_some_and(|limit| is(end, limit))
        };
        if beyond(self.at_least, |end, limit| end < limit, ends.high)
            || beyond(self.at_most, |end, limit| end > limit, ends.low)
        {
            return Judgement::Misses;
        }
        // The width of an interval is proportional to one over the root of n.
        let within = [self.at_least, self.at_most].into_iter().flatten();
        let crossed = within.filter(|limit| ends.contains(*limit));
        let distance = crossed
            .map(|limit| (value - limit).abs())
            .fold(f64::INFINITY, f64::min);
        // An end at infinity, such as that of a crossover, has no distance.
        let half = match (ends.low.is_finite(), ends.high.is_finite()) {
            (true, true) => (ends.high - ends.low) / 2.0,
            (true, false) => value - ends.low,
            (false, _) => ends.high - value,
        };
        let factor = (half / distance).powi(2);
        let needed = samples.map(|samples| (samples as f64 * factor).ceil());
        let needed = needed.filter(|needed| needed.is_finite() && *needed < 1e9);
        Judgement::Undecided(needed.map(|needed| needed as usize))
    }

    /// The limits as text.
    pub fn words(&self, style: Style) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if least == most => format!("= {}", style.with_unit(least)),
            (Some(least), Some(most)) => {
                format!("{} to {}", style.number(least), style.with_unit(most))
            }
            (Some(least), None) => format!("≥ {}", style.with_unit(least)),
            (None, Some(most)) => format!("≤ {}", style.with_unit(most)),
            (None, None) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Estimate;

    const STYLE: Style = Style::Fixed(1);

    fn at_least(least: f64) -> Bounds {
        Bounds {
            at_least: Some(least),
            at_most: None,
        }
    }

    fn number(value: f64) -> Cell {
        Cell::Number(value, STYLE)
    }

    fn of_one_sample(value: f64) -> Cell {
        Cell::of(Estimate::of(&[value]).ok_or_else(String::new), STYLE)
    }

    #[test]
    fn the_whole_interval_decides_and_a_near_miss_says_how_many_samples_would() {
        let of = |mean: f64, half: f64| {
            let interval = Some(Interval {
                low: mean - half,
                high: mean + half,
            });
            let found = Estimate {
                mean,
                std: None,
                interval,
                n: 100,
            };
            at_least(0.0).judge(&Cell::Measured(found, STYLE))
        };
        assert_eq!(of(2.0, 1.0), Judgement::Holds);
        assert_eq!(of(1.0, 1.0), Judgement::Holds, "the end is within");
        assert_eq!(of(-2.0, 1.0), Judgement::Misses);
        // Half the width of an interval needs four times the samples.
        assert_eq!(of(1.0, 2.0), Judgement::Undecided(Some(400)));
        let words = Judgement::Undecided(Some(45_611)).words();
        assert!(words.contains("about 46,000 samples"), "{words}");
        assert_eq!([0, 2, 127].map(rounded), ["0", "2", "130"]);
        assert_eq!(of(-1.0, 2.0), Judgement::Undecided(Some(400)));
        assert_eq!(of(0.0, 2.0), Judgement::Undecided(None));
        assert_eq!(of(0.0, 0.0), Judgement::Holds);

        let both = Bounds {
            at_most: Some(1.0),
            ..at_least(0.0)
        };
        assert_eq!(both.judge(&number(0.5)), Judgement::Holds);
        assert_eq!(both.judge(&number(1.5)), Judgement::Misses);
        assert_eq!(
            both.judge(&Cell::Missing(String::new())),
            Judgement::NotMeasured
        );
        assert_eq!(both.judge(&of_one_sample(0.5)), Judgement::Unrepeated);
    }

    #[test]
    fn derived_values_are_judged_by_their_interval_too() {
        let at_most = Bounds {
            at_least: None,
            at_most: Some(2048.0),
        };
        let of = |value, ends: Option<[f64; 2]>| {
            at_most.judge(&Cell::Derived {
                value,
                interval: ends.map(|[low, high]| Interval { low, high }),
                samples: 5,
                text: String::new(),
                spread: String::new(),
            })
        };
        let never = f64::INFINITY;
        assert_eq!(of(700.0, Some([650.0, 800.0])), Judgement::Holds);
        assert_eq!(of(never, Some([never, never])), Judgement::Misses);
        assert_eq!(of(never, Some([1500.0, never])), Judgement::Undecided(None));
        // The end that is known tells the width.
        assert_eq!(
            of(1848.0, Some([1448.0, never])),
            Judgement::Undecided(Some(20))
        );
        assert_eq!(of(700.0, None), Judgement::Unrepeated);
    }

    #[test]
    fn the_worst_of_several_decides() {
        let at_most = Bounds {
            at_least: None,
            at_most: Some(1.0),
        };
        let worst = |cells: &[Cell]| at_most.worst(cells.iter());
        assert_eq!(worst(&[number(0.5), number(0.9), number(0.7)]), Some(1));
        // One sample decides nothing, however good; an unmeasured length is worse.
        let (one, open) = (of_one_sample(0.1), Cell::Missing(String::new()));
        assert_eq!(worst(&[number(0.9), one.clone()]), Some(1));
        assert_eq!(worst(&[open.clone(), one, number(0.9)]), Some(0));
        assert_eq!(worst(&[open, number(1.1), number(1.3)]), Some(2));
        assert_eq!(
            at_least(1.0).worst([number(1.1), number(1.5)].iter()),
            Some(0)
        );
        assert_eq!(worst(&[]), None);
    }
}
