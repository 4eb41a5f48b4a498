//! The progress of a run as plain lines.

use bsbr_train::{StepReport, TrainingObserver};
use burn_train::Interrupter;

use super::pace::{Pace, about};
use crate::commands;

/// The number of steps per line.
const EVERY: u64 = 10;

/// Prints the progress of a run to standard error.
pub struct Lines {
    /// Signals Ctrl-C.
    pub stop: Interrupter,
    /// Before the first step.
    pub pace: Pace,
}

impl TrainingObserver for Lines {
    fn step(&mut self, report: &StepReport) {
        let at = self.pace.step(report);
        if !report.step.is_multiple_of(EVERY) && report.step != report.total_steps {
            return;
        }
        let speed = report.step_tokens as f64 / report.elapsed.as_secs_f64().max(1e-9);
        commands::report(&format!(
            "epoch {} of {}, step {}/{}: loss {:.4}, smoothed {:.4}, gradient {:.2}, {speed:.0} \
             tokens/s, {} left",
            at.epoch,
            at.epochs,
            report.step,
            report.total_steps,
            report.loss,
            at.smoothed,
            report.gradient_norm,
            about(at.left)
        ));
    }

    fn message(&mut self, text: &str) {
        commands::report(text);
    }

    fn should_stop(&self) -> bool {
        self.stop.should_stop()
    }
}
