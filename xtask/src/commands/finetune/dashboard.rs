//! Burn's dashboard of a training run, on a terminal.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::sync::Arc;

use bsbr_train::finetune::Validation;
use bsbr_train::{StepReport, TrainingObserver};
use burn_train::Interrupter;
use burn_train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer};

use super::pace::Pace;
use crate::commands::report;

/// The name of the run on the dashboard, whose two bars have no labels of their own.
const BARS: &str = "fine-tuning; bars: this epoch, the whole run and the time left";

/// Curves, metrics and progress of the run, until it is dropped.
pub struct Dashboard {
    /// Restores the terminal when it is dropped.
    renderer: Option<Box<dyn MetricsRenderer>>,
    /// Signals Ctrl-C, and `q`, `s` on the dashboard.
    stop: Interrupter,
    pace: Pace,
    /// The displayed epoch, from 1; 0 before the first step.
    epoch: u64,
    /// Messages during the run, for the restored terminal.
    messages: Vec<String>,
}

/// A number on the dashboard: its displayed name, its unit and its decimal places.
#[derive(Clone, Copy)]
struct Metric(&'static str, Option<&'static str>, usize);

const LOSS: Metric = Metric("Loss", Some("nats"), 4);
const SMOOTHED: Metric = Metric("Loss, smoothed", Some("nats"), 4);
const PERPLEXITY: Metric = Metric("Perplexity", None, 4);
const GRADIENT: Metric = Metric("Gradient norm", None, 2);
const SPEED: Metric = Metric("Speed", Some("tokens/s"), 0);

impl Metric {
    fn id(self) -> MetricId {
        MetricId::new(Arc::new(self.0.to_owned()))
    }

    fn definition(self) -> MetricDefinition {
        MetricDefinition {
            metric_id: self.id(),
            name: Arc::new(self.0.to_owned()),
            description: None,
            attributes: NumericAttributes {
                unit: self.1.map(str::to_owned),
                higher_is_better: self.0 == SPEED.0,
            }
            .into(),
        }
    }

    fn state(self, value: f64) -> MetricState {
        let Self(_, unit, digits) = self;
        let number = format!("{value:.digits$}");
        let shown = match unit {
            Some(unit) => format!("{number} {unit}"),
            None => number.clone(),
        };
        let entry = MetricEntry::new(self.id(), SerializedEntry::new(shown, number));
        MetricState::Numeric(entry, Some(NumericEntry::Value(value)))
    }
}

impl Dashboard {
    /// Whether standard input, output and error are terminals.
    pub fn has_a_viewer() -> bool {
        stdin().is_terminal() && stdout().is_terminal() && stderr().is_terminal()
    }

    /// Takes over the terminal.
    pub fn new(stop: Interrupter, pace: Pace) -> Self {
        let mut renderer = TuiMetricsRendererWrapper::new(stop.clone(), None);
        for metric in [LOSS, SMOOTHED, PERPLEXITY, GRADIENT, SPEED] {
            renderer.register_metric(metric.definition());
        }
        keep_ctrl_c();
        Self {
            renderer: Some(Box::new(renderer)),
            stop,
            pace,
            epoch: 0,
            messages: Vec::new(),
        }
    }
}

impl TrainingObserver for Dashboard {
    fn step(&mut self, report: &StepReport) {
        let Some(renderer) = &mut self.renderer else {
            return;
        };
        let at = self.pace.step(report);
        let epoch = at.epoch;
        if epoch != self.epoch {
            if self.epoch == 0 {
                let epochs = self.pace.epochs as usize;
                renderer.start(epochs, epoch as usize, None, Some(BARS));
            } else {
                renderer.end_split();
                // Burn expects the number of the finished epoch.
                renderer.update_epoch(epoch as usize - 1);
            }
            renderer.start_split("train", self.pace.steps_per_epoch as usize);
            self.epoch = epoch;
        }
        let speed = report.step_tokens as f64 / report.elapsed.as_secs_f64().max(1e-9);
        renderer.update_train(LOSS.state(report.loss));
        renderer.update_train(SMOOTHED.state(at.smoothed));
        renderer.update_train(GRADIENT.state(report.gradient_norm));
        renderer.update_train(SPEED.state(speed));
        renderer.update_split(at.step as usize);
    }

    fn message(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }

    fn validated(&mut self, validation: &Validation) {
        if let Some(renderer) = &mut self.renderer {
            renderer.update_valid(LOSS.state(validation.loss));
            renderer.update_valid(PERPLEXITY.state(validation.perplexity));
        }
    }

    fn should_stop(&self) -> bool {
        self.stop.should_stop()
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        drop(self.renderer.take());
        for text in &self.messages {
            report(text);
        }
    }
}

/// Lets Ctrl-C end the run as without a dashboard: Burn's dashboard reads keys in raw mode,
/// including Ctrl-C, and uses `q` instead. Other signal keys stay off, because they would leave
/// the dashboard on the terminal.
#[cfg(unix)]
fn keep_ctrl_c() {
    use std::time::{Duration, Instant};

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

    /// `_POSIX_VDISABLE`: no key.
    const OFF: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

    // Burn's thread sets up the terminal; before that there is nothing to change.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        let Ok(mut modes) = tcgetattr(stdin()) else {
            return;
        };
        if !modes.local_modes.contains(LocalModes::ICANON) {
            modes.local_modes.insert(LocalModes::ISIG);
            modes.special_codes[SpecialCodeIndex::VSUSP] = OFF;
            modes.special_codes[SpecialCodeIndex::VQUIT] = OFF;
            // If it cannot be set, `q` still works.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(not(unix))]
fn keep_ctrl_c() {}
