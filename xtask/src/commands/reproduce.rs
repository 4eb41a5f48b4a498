//! `cargo xtask reproduce`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bsbr_report::experiment::Unit;
use bsbr_report::lab::Lab;
use bsbr_report::reported::read_claims;
use bsbr_report::reproduce::{Plan, reproduce};
use bsbr_report::runner::Observer;
use bsbr_report::spec::{Overrides, read_specs};
use indicatif::{ProgressBar, ProgressStyle};

use crate::device;

/// Measure every arm beside the dense model, and write tables, plots and a page.
///
/// Runs what `assets/experiments` describes: similarity, agreement, attention-maps,
/// summarisation, qa. Every unit is recorded as it ends; stopped with Ctrl-C or killed, the same
/// command goes on from there, and a finished run is only rendered again. The last line printed is the page's path.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the dense model: config.json, weights, tokenizer
    #[arg(long, default_value = "assets/bundled")]
    model: PathBuf,
    /// Folder for records, tables, plots and the page [default: results/MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Few samples, the same method; the page goes to results/MODEL-quick
    #[arg(long)]
    quick: bool,
    /// Run these experiments alone; others are shown where their records are there
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// Another seed for texts, random sequences and calibration
    #[arg(long)]
    seed: Option<u64>,
    /// Text files to read instead of storybook, each a domain of its own
    #[arg(long, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Folder of specifications and of the arms that they refer to
    #[arg(long, default_value = "assets/experiments", hide_short_help = true)]
    experiments: PathBuf,
    /// File of the report's numbers
    #[arg(long, default_value = "assets/reported.toml", hide_short_help = true)]
    reported: PathBuf,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let overrides = Overrides {
        quick: args.quick,
        seed: args.seed,
    };
    let plan = Plan {
        specs: read_specs(&args.experiments, overrides)?,
        only: args.only.clone(),
        claims: read_claims(&args.reported)?,
        command: super::command_line(),
    };
    plan.check()?;
    let device = device::parse(&args.device)?;
    let lab = Lab::open(&args.model, &device, &args.device, &args.data)
        .with_context(|| format!("--model {}", args.model.display()))?;
    let out = args.out.clone().unwrap_or_else(|| out(&lab, args.quick));
    let page = reproduce(&plan, &lab, &out, &mut Progress::new(stop_flag()?))?;
    println!("{}", page.display());
    Ok(())
}

fn out(lab: &Lab, quick: bool) -> PathBuf {
    let quick = if quick { "-quick" } else { "" };
    Path::new("results").join(format!("{}{quick}", lab.name()))
}

/// Set by the first Ctrl-C; the second ends the process, which loses the running unit alone.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nfinishing the running unit; press Ctrl-C again to stop at once");
    })?;
    Ok(stop)
}

/// A progress bar on a terminal, lines elsewhere.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
    stop: Arc<AtomicBool>,
    start: Instant,
    work: f64,
    done: f64,
}

impl Progress {
    fn new(stop: Arc<AtomicBool>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = match terminal {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {percent:>3} %, {eta} left, {msg}")
        {
            bar.set_style(style);
        }
        Self {
            bar,
            terminal,
            stop,
            start: Instant::now(),
            work: 0.0,
            done: 0.0,
        }
    }

    /// Time left at the speed so far.
    fn left(&self) -> Duration {
        let speed = self.done / self.start.elapsed().as_secs_f64().max(1e-9);
        Duration::from_secs_f64(((self.work - self.done).max(0.0) / speed.max(1e-9)).min(1e6))
    }
}

impl Observer for Progress {
    fn planned(&mut self, units: usize, recorded: usize, work: f64) {
        (self.start, self.work, self.done) = (Instant::now(), work, 0.0);
        self.bar.set_length(work as u64);
        self.bar.reset();
        if recorded > 0 {
            let text = format!("{recorded} of {units} units are recorded already");
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    fn begins(&mut self, experiment: &str, unit: &Unit) {
        self.bar
            .set_message(format!("{experiment}: {}", unit.describe()));
        if self.terminal {
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn recorded(&mut self, experiment: &str, unit: &Unit, seconds: f64) {
        self.done += unit.work;
        self.bar.set_position(self.done as u64);
        if !self.terminal {
            eprintln!(
                "{experiment}: {} in {seconds:.1} s; about {:.0} s left",
                unit.describe(),
                self.left().as_secs_f64()
            );
        }
        if self.done >= self.work {
            self.bar.finish_and_clear();
        }
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
