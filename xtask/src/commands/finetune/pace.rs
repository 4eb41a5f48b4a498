//! Progress, loss and remaining time of a run.

use std::time::Duration;

use bsbr_train::StepReport;

/// The number of steps that dominate the smoothed loss.
const SMOOTHED: f64 = 20.0;

/// The state of a run, from its steps.
#[derive(Debug)]
pub struct Pace {
    /// Epochs of the run.
    pub epochs: u64,
    /// Steps of an epoch; at least 1.
    pub steps_per_epoch: u64,
    /// Sums of weighted losses and of their weights, which decay exponentially.
    loss: (f64, f64),
    /// Time and number of the steps of this process.
    made: (Duration, u32),
}

/// The position and loss of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Epochs of the run.
    pub epochs: u64,
    /// The step within the epoch, from 1.
    pub step: u64,
    /// An exponentially weighted mean of the last steps' losses.
    pub smoothed: f64,
    /// The remaining time, at the speed of the steps so far.
    pub left: Duration,
}

impl Pace {
    /// For a run without steps in this process.
    pub fn new(epochs: u64, steps_per_epoch: u64) -> Self {
        Self {
            epochs,
            steps_per_epoch: steps_per_epoch.max(1),
            loss: (0.0, 0.0),
            made: (Duration::ZERO, 0),
        }
    }

    /// Adds the next step.
    pub fn step(&mut self, report: &StepReport) -> At {
        let kept = 1.0 - 1.0 / SMOOTHED;
        self.loss = (self.loss.0 * kept + report.loss, self.loss.1 * kept + 1.0);
        self.made = (self.made.0 + report.elapsed, self.made.1 + 1);
        let before = report.step.saturating_sub(1);
        let rest = report.total_steps.saturating_sub(report.step);
        At {
            epoch: before / self.steps_per_epoch + 1,
            epochs: self.epochs,
            step: before % self.steps_per_epoch + 1,
            smoothed: self.loss.0 / self.loss.1,
            left: (self.made.0 / self.made.1)
                .saturating_mul(u32::try_from(rest).unwrap_or(u32::MAX)),
        }
    }
}

/// A time as text, such as `about 3 min`.
pub fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("about {seconds} s"),
        seconds @ 90..5400 => format!("about {} min", (seconds + 30) / 60),
        seconds => format!("about {:.1} h", seconds as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64, loss: f64) -> StepReport {
        StepReport {
            step,
            total_steps: 12,
            stage: 0,
            tokens: 0,
            step_tokens: 0,
            loss,
            answer_loss: None,
            gradient_norm: 1.0,
            rate: 1.0,
            elapsed: Duration::from_secs(30),
        }
    }

    #[test]
    fn a_resumed_run_knows_its_epoch_and_what_is_left() {
        let mut pace = Pace::new(3, 4);
        let at = pace.step(&report(6, 2.0));
        assert_eq!((at.epoch, at.step, at.smoothed), (2, 2, 2.0));
        assert_eq!(about(at.left), "about 3 min");
        let at = pace.step(&report(9, 1.0));
        assert_eq!((at.epoch, at.step), (3, 1));
        assert!(at.smoothed > 1.4 && at.smoothed < 1.5, "{}", at.smoothed);
        assert_eq!(about(at.left), "about 2 min");
    }
}
