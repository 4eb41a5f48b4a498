//! Growth of a quantity with the length of a sequence: power laws, and crossovers of two curves.

use bsbr_metrics::stats::{Interval, quantile};

use crate::estimate::BOOTSTRAP;
use crate::style::Style;

/// The format of lengths.
const WHOLE: Style = Style::Fixed(0);

/// Samples of a positive quantity at one length.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Tokens.
    pub length: usize,
    /// One value per sample, each above zero.
    pub samples: Vec<f64>,
}

/// The smallest number of samples of a level; 0 without any.
pub fn fewest_samples<'a>(levels: impl IntoIterator<Item = &'a Level>) -> usize {
    let counts = levels.into_iter().map(|one| one.samples.len());
    counts.min().unwrap_or_default()
}

/// `a · n^b`, fitted by least squares to the logarithms of medians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLaw {
    /// b.
    pub exponent: f64,
    /// The 95 % percentile bootstrap interval of b, with samples resampled within each length.
    /// It reflects the uncertainty of the medians, not how well a power law fits them.
    pub interval: Option<Interval>,
    /// The share of the logarithms' variance that the fit explains.
    pub r_squared: f64,
}

impl PowerLaw {
    /// The fit to all levels; `None` for fewer than three.
    pub fn fit(levels: &[Level]) -> Option<Self> {
        let levels: Vec<&Level> = levels.iter().filter(|one| positive(one)).collect();
        if levels.len() < 3 {
            return None;
        }
        let fitted = |drawn: Option<&[usize]>| line(&levels, &medians(&levels, drawn));
        let (exponent, r_squared) = fitted(None)?;
        let interval = resampled(&levels, |drawn| fitted(Some(drawn)).map(|(slope, _)| slope));
        Some(Self {
            exponent,
            interval,
            r_squared,
        })
    }
}

/// Where a curve falls permanently below another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossover {
    /// The number of tokens from which it is below: 0 if it is at every length, ∞ if it is not at
    /// the longest.
    pub tokens: f64,
    /// The 95 % bootstrap interval over samples, whose ends may be 0 and ∞ too; `None` if no length
    /// has two samples.
    pub interval: Option<Interval>,
    /// The longest length.
    longest: usize,
}

impl Crossover {
    /// Where `own` falls below `reference`, for lengths that both have. `None` without any.
    ///
    /// Medians are joined by straight lines in log–log coordinates.
    pub fn of(own: &[Level], reference: &[Level]) -> Option<Self> {
        let pairs = own.iter().filter_map(|one| {
            let other = reference.iter().find(|other| other.length == one.length)?;
            (positive(one) && positive(other)).then_some((one, other))
        });
        let (mine, theirs): (Vec<&Level>, Vec<&Level>) = pairs.unzip();
        let longest = mine.iter().map(|one| one.length).max()?;
        let lengths: Vec<f64> = mine.iter().map(|one| one.length as f64).collect();
        let all: Vec<&Level> = mine.iter().chain(&theirs).copied().collect();
        let at = |medians: &[f64]| {
            let (mine, theirs) = medians.split_at(lengths.len());
            let gaps: Vec<f64> = mine.iter().zip(theirs).map(|(a, b)| (a / b).ln()).collect();
            last_crossing(&lengths, &gaps)
        };
        // Bootstrap statistics are finite, so ∞ is a length beyond all others.
        let drawn = |drawn: &[usize]| at(&medians(&all, Some(drawn))).min(f64::MAX);
        let bound = |tokens| match tokens > longest as f64 {
            true => f64::INFINITY,
            false => tokens,
        };
        let interval = resampled(&all, |all| Some(drawn(all)));
        Some(Self {
            tokens: at(&medians(&all, None)),
            interval: interval.map(|one| Interval {
                low: bound(one.low),
                high: bound(one.high),
            }),
            longest,
        })
    }

    /// A description for a table, without the interval.
    pub fn words(&self, style: Style) -> String {
        match self.tokens {
            0.0 => "at every length".to_owned(),
            f64::INFINITY => format!("not up to {}", style.number(self.longest as f64)),
            tokens => style.with_unit(tokens),
        }
    }

    /// The interval in brackets; empty if every resampling agrees.
    pub fn brackets(&self) -> String {
        let number = |bound: f64| match bound.is_finite() {
            true => WHOLE.number(bound),
            false => "∞".to_owned(),
        };
        let open = self.interval.filter(|ends| ends.low < ends.high);
        open.map_or_else(String::new, |ends| {
            format!("[{}, {}]", number(ends.low), number(ends.high))
        })
    }
}

fn positive(level: &Level) -> bool {
    !level.samples.is_empty() && level.samples.iter().all(|&one| one > 0.0)
}

/// Each level's median, of all samples or of the drawn ones.
fn medians(levels: &[&Level], drawn: Option<&[usize]>) -> Vec<f64> {
    let mut first = 0;
    levels
        .iter()
        .map(|level| {
            let count = level.samples.len();
            let samples: Vec<f64> = match drawn {
                None => level.samples.clone(),
                // The draw is uniform over a common multiple of all counts.
                Some(drawn) => (0..count)
                    .map(|at| level.samples[drawn[(first + at) % drawn.len()] % count])
                    .collect(),
            };
            first += count;
            quantile(&samples, 0.5).unwrap_or(f64::NAN)
        })
        .collect()
}

/// An interval over resampled samples within levels; `None` if no level has two.
fn resampled(levels: &[&Level], statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Interval> {
    if levels.iter().all(|level| level.samples.len() < 2) {
        return None;
    }
    let counts = || levels.iter().map(|level| level.samples.len());
    let (total, multiple) = (
        counts().sum::<usize>(),
        counts().fold(1, least_common_multiple),
    );
    // A multiple of every count, and enough draws for all levels.
    let draws = total.div_ceil(multiple) * multiple;
    let interval = BOOTSTRAP.interval(draws, |drawn| statistic(drawn).unwrap_or(f64::NAN));
    interval.ok()
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

/// Slope and explained share of variance of the logarithms' regression line.
fn line(levels: &[&Level], medians: &[f64]) -> Option<(f64, f64)> {
    let n = levels.len() as f64;
    let x: Vec<f64> = levels.iter().map(|one| (one.length as f64).ln()).collect();
    let y: Vec<f64> = medians.iter().map(|one| one.ln()).collect();
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let products = x.iter().zip(&y).map(|(x, y)| (x - mean_x) * (y - mean_y));
    let covariance: f64 = products.sum();
    let variance_x: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    let variance_y: f64 = y.iter().map(|y| (y - mean_y).powi(2)).sum();
    (variance_x > 0.0).then(|| {
        let explained = match variance_y > 0.0 {
            true => covariance.powi(2) / (variance_x * variance_y),
            false => 1.0,
        };
        (covariance / variance_x, explained)
    })
}

/// The length from which the gaps stay below zero: 0 if all are, ∞ if the last is not.
fn last_crossing(lengths: &[f64], gaps: &[f64]) -> f64 {
    match gaps.iter().rposition(|&gap| gap >= 0.0) {
        None => 0.0,
        Some(at) if at + 1 == gaps.len() => f64::INFINITY,
        Some(at) => {
            let share = gaps[at] / (gaps[at] - gaps[at + 1]);
            let (low, high) = (lengths[at].ln(), lengths[at + 1].ln());
            (low + share * (high - low)).exp()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(of: impl Fn(f64) -> f64, noise: &[f64]) -> Vec<Level> {
        [128usize, 256, 512, 1024, 2048]
            .into_iter()
            .map(|length| Level {
                length,
                samples: noise
                    .iter()
                    .map(|n| of(length as f64) * (1.0 + n))
                    .collect(),
            })
            .collect()
    }

    #[test]
    fn a_power_law_is_found_again() {
        let exact = PowerLaw::fit(&levels(|n| 3e-5 * n.powf(1.7), &[0.0])).unwrap();
        assert!((exact.exponent - 1.7).abs() < 1e-9, "{exact:?}");
        assert!((exact.r_squared - 1.0).abs() < 1e-9);
        assert_eq!(exact.interval, None);

        let noise = [-0.1, 0.02, 0.0, 0.07, -0.03];
        let noisy = PowerLaw::fit(&levels(|n| n * n, &noise)).unwrap();
        let interval = noisy.interval.unwrap();
        assert!(interval.low < 2.0 && 2.0 < interval.high, "{interval:?}");
        assert!(interval.high - interval.low < 0.2, "{interval:?}");

        assert_eq!(PowerLaw::fit(&levels(|n| n, &[0.0])[..2]), None);
        assert_eq!(PowerLaw::fit(&levels(|_| 0.0, &[0.0])), None);
    }

    #[test]
    fn curves_cross_where_they_do() {
        let square = levels(|n| n * n, &[0.0]);
        let linear = levels(|n| 700.0 * n, &[0.0]);
        let of = |own: &[Level], other: &[Level]| Crossover::of(own, other).unwrap();
        let found = of(&linear, &square);
        assert!((found.tokens - 700.0).abs() < 1e-6, "{found:?}");
        assert_eq!(found.interval, None);
        let never = of(&square, &linear);
        assert_eq!(never.tokens, f64::INFINITY);
        assert_eq!(never.words(WHOLE), "not up to 2,048");
        let always = of(&levels(|n| n, &[0.0]), &square);
        assert_eq!(always.tokens, 0.0);
        assert_eq!(always.words(WHOLE), "at every length");
        assert_eq!(Crossover::of(&[], &square), None);

        let noise = [-0.2, 0.1, 0.0, 0.05, -0.1];
        let noisy = of(&levels(|n| 700.0 * n, &noise), &levels(|n| n * n, &noise));
        let interval = noisy.interval.unwrap();
        assert!(
            interval.low < 700.0 && 700.0 < interval.high,
            "{interval:?}"
        );
    }

    #[test]
    fn a_crossing_that_may_not_be_has_an_interval_without_end() {
        let noise = [-0.3, 0.3, 0.0, 0.2, -0.2];
        let late = Crossover::of(&levels(|n| 1900.0 * n, &noise), &levels(|n| n * n, &noise));
        let late = late.unwrap();
        let interval = late.interval.unwrap();
        assert!(interval.low > 1000.0, "{interval:?}");
        assert_eq!(interval.high, f64::INFINITY);
        assert!(late.brackets().ends_with(", ∞]"), "{late:?}");
    }

    #[test]
    fn a_curve_that_is_always_or_never_below_has_an_interval_too() {
        let noise = [-0.3, 0.3, 0.0, 0.2, -0.2];
        let of = |share: f64| {
            let own = levels(|n| share * n * n, &noise);
            Crossover::of(&own, &levels(|n| n * n, &noise)).unwrap()
        };
        // Far apart, every resampling agrees; close together, some find a crossing or none.
        for (share, tokens) in [(0.1, 0.0), (10.0, f64::INFINITY)] {
            let sure = of(share);
            let both = Interval {
                low: tokens,
                high: tokens,
            };
            assert_eq!((sure.tokens, sure.interval), (tokens, Some(both)));
            assert_eq!(sure.brackets(), "");
        }
        let (always, never) = (of(0.95), of(1.05));
        assert_eq!((always.tokens, never.tokens), (0.0, f64::INFINITY));
        assert!(always.interval.unwrap().high > 128.0, "{always:?}");
        assert!(never.interval.unwrap().low < 2048.0, "{never:?}");
    }
}
