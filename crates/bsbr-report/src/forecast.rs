//! How long what is left of a run takes.

use std::collections::BTreeMap;

/// How much work of an experiment must be done before its own speed counts as much as that of all.
const TRUST: f64 = 0.1;

/// Work and time of one experiment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Share {
    planned: f64,
    done: f64,
    seconds: f64,
}

/// The work that was planned, and how fast it went so far.
///
/// Experiments say how much work a unit is, in a measure that they share. What is left of an
/// experiment is expected to go at its own measured speed, and one that has not begun at the speed
/// of all so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecast {
    shares: BTreeMap<String, Share>,
}

impl Forecast {
    /// Adds the work of a unit.
    pub fn plan(&mut self, experiment: &str, work: f64) {
        self.share(experiment).planned += work;
    }

    /// A unit took some seconds.
    pub fn done(&mut self, experiment: &str, work: f64, seconds: f64) {
        let share = self.share(experiment);
        share.done += work;
        share.seconds += seconds;
    }

    fn share(&mut self, experiment: &str) -> &mut Share {
        self.shares.entry(experiment.to_owned()).or_default()
    }

    /// Seconds that a unit will take; `None` before any is done.
    pub fn expected(&self, experiment: &str, work: f64) -> Option<f64> {
        let (done, seconds) = self
            .shares
            .values()
            .fold((0.0, 0.0), |(done, seconds), one| {
                (done + one.done, seconds + one.seconds)
            });
        let all = (done > 0.0).then(|| seconds / done)?;
        let own = self.shares.get(experiment).copied().unwrap_or_default();
        // As if some of its work had been done at the speed of all.
        let prior = TRUST * own.planned;
        let speed = match prior + own.done > 0.0 {
            true => (own.seconds + prior * all) / (own.done + prior),
            false => all,
        };
        Some(work * speed)
    }

    /// Seconds that the rest will take; `None` before any is done.
    pub fn left(&self) -> Option<f64> {
        let shares = self.shares.iter();
        let left = shares.map(|(name, one)| self.expected(name, (one.planned - one.done).max(0.0)));
        left.sum()
    }

    /// The share of the work that is done, by the time that it takes, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let passed: f64 = self.shares.values().map(|one| one.seconds).sum();
        match self.left() {
            Some(left) if passed + left > 0.0 => passed / (passed + left),
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Forecast;

    #[test]
    fn what_has_not_begun_goes_at_the_speed_of_all_and_the_rest_at_its_own() {
        let mut forecast = Forecast::default();
        for (experiment, units) in [("quick", 10), ("slow", 10)] {
            for _ in 0..units {
                forecast.plan(experiment, 1.0);
            }
        }
        assert_eq!(forecast.left(), None);
        assert_eq!(forecast.progress(), 0.0);
        for _ in 0..10 {
            forecast.done("quick", 1.0, 2.0);
        }
        assert_eq!(forecast.left(), Some(20.0));
        assert_eq!(forecast.progress(), 0.5);
        // It takes ten times as long as it was said to: soon the rest is expected to, too.
        for _ in 0..5 {
            forecast.done("slow", 1.0, 20.0);
        }
        let left = forecast.left().unwrap();
        assert!((80.0..=100.0).contains(&left), "{left}");
        for _ in 0..5 {
            forecast.done("slow", 1.0, 20.0);
        }
        assert_eq!(forecast.left(), Some(0.0));
        assert_eq!(forecast.progress(), 1.0);
    }
}
