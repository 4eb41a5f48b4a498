//! Forecast of a run's remaining time.

use std::collections::BTreeMap;

/// The share of an experiment's work at which its own speed counts as much as that of all.
const TRUST: f64 = 0.1;

/// Work and time of one experiment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Share {
    planned: f64,
    done: f64,
    seconds: f64,
}

/// The planned work, and the speed so far.
///
/// Experiments state the work of a unit in a common measure. The forecast uses an experiment's own
/// measured speed for the rest of its work, and the overall speed for experiments that have not
/// begun.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecast {
    shares: BTreeMap<String, Share>,
}

impl Forecast {
    /// Adds the work of a unit.
    pub fn plan(&mut self, experiment: &str, work: f64) {
        self.share(experiment).planned += work;
    }

    /// Records a unit that took some seconds.
    pub fn done(&mut self, experiment: &str, work: f64, seconds: f64) {
        let share = self.share(experiment);
        share.done += work;
        share.seconds += seconds;
    }

    fn share(&mut self, experiment: &str) -> &mut Share {
        self.shares.entry(experiment.to_owned()).or_default()
    }

    /// Expected seconds of a unit; `None` before any is done.
    pub fn expected(&self, experiment: &str, work: f64) -> Option<f64> {
        let (done, seconds) = self
            .shares
            .values()
            .fold((0.0, 0.0), |(done, seconds), one| {
                (done + one.done, seconds + one.seconds)
            });
        let all = (done > 0.0).then(|| seconds / done)?;
        let own = self.shares.get(experiment).copied().unwrap_or_default();
        // As if some of its work had been done at the overall speed.
        let prior = TRUST * own.planned;
        let speed = match prior + own.done > 0.0 {
            true => (own.seconds + prior * all) / (own.done + prior),
            false => all,
        };
        Some(work * speed)
    }

    /// Expected seconds of the remaining work; `None` before any is done.
    pub fn left(&self) -> Option<f64> {
        let shares = self.shares.iter();
        let left = shares.map(|(name, one)| self.expected(name, (one.planned - one.done).max(0.0)));
        left.sum()
    }

    /// The finished share of the work, in terms of time, from 0 to 1.
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
        // It takes ten times as long as planned: soon the forecast for the rest adapts.
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
