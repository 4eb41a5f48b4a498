//! `cargo xtask reproduce`

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bsbr_attention::ArmConfig;
use bsbr_files::{Lock, check_file};
use bsbr_report::experiment::{Unit, in_file_name};
use bsbr_report::forecast::Forecast;
use bsbr_report::lab::Lab;
use bsbr_report::overview::Overview;
use bsbr_report::reported::{REPORT, Reported};
use bsbr_report::reproduce::{Plan, differences, render, reproduce};
use bsbr_report::runner::Observer;
use bsbr_report::spec::{Overrides, read_specs};
use burn::tensor::Device;
use burn_train::Interrupter;
use indicatif::ProgressBar;

use super::hub::{Found, HubArgs};
use super::memory_cell;
use super::shape::Shape;
use super::texts;
use super::weights::WeightsArgs;
use crate::{assets, device};

/// Measure a model with every arm, and write tables, plots and a page.
///
/// Runs the experiments of `assets/experiments`: similarity to the original, retrieval of facts,
/// summaries, and cost of each arm. Every unit is recorded when it ends. After Ctrl-C or a kill,
/// the same command resumes; a finished run is only rendered again. Fine-tuned models are kept in
/// the output folder, with their checkpoints during training. The last printed line is the page's
/// path.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub, such as openai-community/gpt2. If it is
    /// converted or tuned, the rows of the default arm are the model itself, and other arms come
    /// from its dense form
    #[arg(long, value_name = "DIR|NAME", default_value_os_t = assets::bundled())]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// Measure time and memory with random weights of this shape; only the tokenizer of `--model`
    /// is used
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    shape: Option<Shape>,
    /// Folder for records, tables, plots and the page [default: results/MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Use few samples, with the same method, and leave out sweeps of settings unless `--only` names
    /// them: about two minutes. The page goes to results/MODEL-quick
    #[arg(long)]
    quick: bool,
    /// Use more samples, and add arms and very long texts: several hours. The page goes to
    /// results/MODEL-full
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Run nothing: render the records in --out again, and fail if the files differ
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    check: bool,
    /// Run nothing: write tables, plots and the page from the records in --out
    #[arg(long, conflicts_with_all = ["only", "check"])]
    render: bool,
    /// Run only these experiments; others are shown only if they have records
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// Measure this arm in place of the default one, such as moments:exact_clusters=4,kv_bits=4
    /// (`convert --help` lists all settings). The page goes to results/MODEL-ARM
    #[arg(long, value_name = "ARM")]
    arm: Option<ArmConfig>,
    /// Another seed for texts, random sequences and calibration
    #[arg(long)]
    seed: Option<u64>,
    /// Texts: files (.txt, .jsonl, .json, .parquet), each a separate domain, or wikitext-2,
    /// wikitext-103, cnn-dailymail, storybook [default: storybook with the bundled model's
    /// tokenizer, else wikitext-2 and, for summaries, cnn-dailymail]
    #[arg(long, num_args = 1.., value_name = "FILE|NAME")]
    data: Vec<String>,
    /// Sequence lengths for time and memory, in tokens; records of other lengths are kept
    #[arg(long, value_delimiter = ',', value_name = "TOKENS,…")]
    lengths: Vec<u32>,
    /// Also time GPT-2 of the same shape in PyTorch, in the same rounds, with fused (SDPA) and
    /// plain attention
    #[arg(long, value_name = "NAME", value_parser = ["torch"])]
    baseline: Option<String>,
    /// The Python that runs the baseline; it needs torch and transformers [default: python3]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Folder of the specifications, arms and the report's figures
    #[arg(long, default_value_os_t = assets::path("experiments"), hide_short_help = true)]
    experiments: PathBuf,
    /// File of the first screen, and of the report's conclusions and their claims
    #[arg(long, default_value_os_t = assets::path("overview.toml"), hide_short_help = true)]
    overview: PathBuf,
    #[command(flatten)]
    weights: WeightsArgs,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

impl Args {
    /// The inputs of the run.
    fn plan(&self) -> Result<Plan> {
        let overrides = Overrides {
            quick: self.quick,
            full: self.full,
            shape: self.shape.is_some(),
            seed: self.seed,
            lengths: self.lengths.clone(),
            distances: Vec::new(),
            baselines: self.baseline.iter().cloned().collect(),
        };
        assets::check(&self.experiments)?;
        assets::check(&self.overview)?;
        Ok(Plan {
            specs: read_specs(&self.experiments, &overrides)?,
            only: only(self),
            reported: Reported::read(&self.experiments.join(REPORT))?,
            overview: Overview::read(&self.overview)?,
            command: super::command_line(),
            commit: super::commit(),
        })
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let mut plan = args.plan()?;
    plan.check()?;
    let device = device::parse(&args.device)?;
    let found = args.hub.find(&args.model)?;
    let worker =
        memory_cell::Args::worker(found.folder.clone(), args.shape, args.weights, &args.device)?;
    let lab = lab(&args, found, &device)?
        .replacing_default_arm(args.arm.as_ref(), &mut plan.specs)?
        .with_weights(args.weights.products())
        .context("--weights")?
        .with_python(args.python.clone())
        .with_worker(worker);
    let out = args.out.clone().unwrap_or_else(|| out(&args, &lab));
    let lab = lab.with_models_in(out.join("models"));
    if args.check {
        return check(&plan, &lab, &out);
    }
    let _lock = claim(&out)?;
    if args.render {
        println!("{}", render(&plan, &lab, &out)?.display());
        return Ok(());
    }
    let page = reproduce(&plan, &lab, &out, &mut Progress::new(stop_flag()?))?;
    println!("{}", page.display());
    Ok(())
}

/// The minimum free space for a page, in bytes.
const PAGE: u64 = 1 << 20;

/// Locks the folder of a run before any measurement.
pub(super) fn claim(out: &Path) -> Result<Lock> {
    let context = || format!("--out {}", out.display());
    let lock = Lock::acquire(out).with_context(context)?;
    std::fs::create_dir_all(out).with_context(context)?;
    check_file(&out.join("page"), PAGE).with_context(context)?;
    Ok(lock)
}

fn check(plan: &Plan, lab: &Lab, out: &Path) -> Result<()> {
    let differences = differences(plan, lab, out)?;
    for path in &differences {
        eprintln!("{} differs from its records", path.display());
    }
    ensure!(
        differences.is_empty(),
        "{} files of {} are out of date; run with --render instead of --check",
        differences.len(),
        out.display()
    );
    println!("{} matches its records", out.display());
    Ok(())
}

/// The requested experiments; with random weights only those that need no others.
fn only(args: &Args) -> Vec<String> {
    match (args.shape, args.only.is_empty()) {
        (Some(_), true) => {
            let all = "speed streaming reading-memory memory training-memory";
            all.split(' ').map(str::to_owned).collect()
        }
        _ => args.only.clone(),
    }
}

fn lab(args: &Args, found: Found, device: &Device) -> Result<Lab> {
    let model = || format!("--model {}", args.model.display());
    match args.shape {
        None => {
            let texts = texts::texts(&args.data, &args.experiments, &found.folder, &args.hub)?;
            let lab = Lab::open(&found.folder, device, &args.device, &texts);
            let mut lab = lab.with_context(model)?;
            texts::report_limited(lab.corpus());
            if let Some(name) = found.name() {
                name.clone_into(&mut lab.name);
            }
            Ok(lab)
        }
        Some(shape) => {
            let name = format!("{shape}-shape");
            Lab::of_shape(&name, &shape.config()?, &found.folder, device, &args.device)
                .with_context(model)
        }
    }
}

fn out(args: &Args, lab: &Lab) -> PathBuf {
    let scale = match (args.quick, args.full) {
        (true, _) => "-quick",
        (_, true) => "-full",
        _ => "",
    };
    let weights = args.weights.products();
    let weights = weights.map_or_else(String::new, |of| format!("-{}", of.name()));
    let arm = args.arm.as_ref().map(|arm| in_file_name(&arm.to_string()));
    let arm = arm.map_or_else(String::new, |arm| format!("-{arm}"));
    Path::new("results").join(format!("{}{arm}{weights}{scale}", lab.name))
}

/// Set by the first Ctrl-C; the second ends the process, which loses only the running unit.
pub(super) fn stop_flag() -> Result<Interrupter> {
    let stop = Interrupter::new();
    let pressed = stop.clone();
    ctrlc::set_handler(move || {
        if pressed.should_stop() {
            std::process::exit(130);
        }
        pressed.stop(None);
        eprintln!("\nfinishing the running unit; press Ctrl-C again to stop at once");
    })?;
    Ok(stop)
}

/// Steps of the progress bar.
const STEPS: u64 = 1000;

/// A progress bar on a terminal, otherwise lines.
pub(super) struct Progress {
    bar: ProgressBar,
    stop: Interrupter,
}

impl Progress {
    pub(super) fn new(stop: Interrupter) -> Self {
        let bar = super::bar(STEPS, "{bar:30} {percent:>3} %, {prefix}{msg}");
        Self { bar, stop }
    }
}

/// `about 3 min left`; empty before the first unit is done.
fn left(forecast: &Forecast) -> String {
    match forecast.left() {
        None => String::new(),
        Some(seconds) if seconds < 90.0 => format!("about {seconds:.0} s left, "),
        Some(seconds) => format!("about {:.0} min left, ", seconds / 60.0),
    }
}

impl Observer for Progress {
    fn planned(&mut self, units: usize, recorded: usize, _forecast: &Forecast) {
        if recorded > 0 {
            let text = format!("{recorded} of {units} units are recorded already");
            self.bar.suspend(|| super::report(&text));
        }
    }

    fn begins(&mut self, experiment: &str, unit: &Unit) {
        self.bar
            .set_message(format!("{experiment}: {}", unit.describe()));
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn recorded(&mut self, experiment: &str, unit: &Unit, seconds: f64, forecast: &Forecast) {
        self.bar
            .set_position((forecast.progress() * STEPS as f64) as u64);
        self.bar.set_prefix(left(forecast));
        if self.bar.is_hidden() {
            let (unit, left) = (unit.describe(), left(forecast));
            super::report(&format!("{left}{experiment}: {unit} in {seconds:.1} s"));
        }
        if forecast.progress() >= 1.0 {
            self.bar.finish_and_clear();
        }
    }

    fn should_stop(&self) -> bool {
        self.stop.should_stop()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_hub::HubConfig;
    use clap::Parser;

    use super::*;
    use crate::commands::options;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn settings(args: &Args) -> String {
        let plan = args.plan().map(|plan| {
            let specs = format!("{:?} {:?}", plan.specs, plan.only);
            format!("{specs} {:?} {:?}", plan.reported, plan.overview)
        });
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            plan.unwrap_or_else(|error| format!("{error:#}")),
            args.hub.config(HubConfig::new("cache")).offline,
            (&args.model, &args.data, &args.experiments),
            args.shape.map(|shape| shape.to_string()),
            args.out,
            args.python,
            (args.check, args.render),
            (&args.device, args.weights, &args.arm),
        )
    }

    pub fn every_option_counts() {
        options::check(&[""], settings);
    }

    #[test]
    fn the_seed_is_that_of_every_experiment() {
        let line = ["reproduce", "--seed", "99"];
        let plan = Line::parse_from(line).args.plan().expect("a plan");
        assert!(plan.specs.len() > 5);
        assert!(plan.specs.iter().all(|spec| spec.method.seed == 99));
    }
}
