//! `cargo xtask bench`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bsbr_convert::FloatType;
use bsbr_gpt2::{Gpt2, ProductType};
use bsbr_report::arms::load_dense;
use bsbr_report::bench::benchmark::TOKENS;
use bsbr_report::bench::decode::{self, Decoding};
use bsbr_report::bench::first_token::FirstToken;
use bsbr_report::bench::page::Page;
use bsbr_report::bench::{Benchmark, Model, Place, Scope, Shared, begin};
use bsbr_report::corpus::model_files;
use bsbr_report::engines::Engine;
use bsbr_report::experiments::memory::worker::Worker;
use bsbr_report::hash;
use bsbr_report::record::ModelInfo;
use bsbr_report::spec::{ArmSpec, read_arms};
use bsbr_report::store;
use burn::tensor::Device;
use indicatif::ProgressBar;

use super::arms::ArmList;
use super::choice::{self, Choice};
use super::hub::{Found, HubArgs};
use super::memory_cell;
use super::shape::Shape;
use super::weights::WeightsArgs;
use crate::{assets, device};

/// Default lengths.
const LENGTHS: [usize; 4] = [128, 512, 1024, 2048];

/// Default arms.
const ARMS: [&str; 2] = ["dense", "moments"];

/// Default arms of decoding.
const DECODING: [&str; 9] = [
    "dense",
    "dense-8bit",
    "moments",
    "moments-4bit",
    "summaries-state",
    "moments-state-32bit",
    "summaries",
    "local",
    "published",
];

/// Compare the speed of models with PyTorch and with the limits of the machine.
///
/// Rows run in interleaved rounds, in rotating order. Ratios are computed per round, and shown as
/// medians with quartiles and bootstrap intervals. Each length also has a floor: the time of the
/// linear layers at the rate of the matrix products in those rounds. Use an otherwise idle
/// machine.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the dense model, or its name on the Hub
    #[arg(long, value_name = "DIR|NAME", conflicts_with = "shape")]
    model: Option<PathBuf>,
    #[command(flatten)]
    hub: HubArgs,
    /// Use random weights of this shape instead [default: gpt2]
    #[arg(long, value_name = "NAME")]
    shape: Option<Shape>,
    /// Tokens per sequence, or of context for decoding [default: 128,512,1024,2048; contexts
    /// 500,1000,2000,4000]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    lengths: Vec<usize>,
    /// Arms: names from assets/experiments/arms.toml, or arms as in `convert --arm` [default:
    /// dense,moments; for decoding also dense-8bit,moments-4bit,summaries,summaries-state,
    /// moments-state-32bit,local,published]
    #[arg(long, value_name = "ARM,…")]
    arms: Option<ArmList>,
    /// What to measure
    #[arg(
        long,
        value_name = "PART,…",
        value_delimiter = ',',
        default_value = "model,attention,memory,first-token,training",
        value_parser = choice::parser(PARTS)
    )]
    only: Vec<Scope>,
    /// Measure only the parts of a forward pass and of decoding one token
    #[arg(long, conflicts_with = "only")]
    profile: bool,
    /// Also time these libraries: PyTorch, and for decoding and the first token also CTranslate2
    /// and ONNX Runtime, in f32 and in the types of --weights that they support
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        value_parser = choice::parser(BASELINES)
    )]
    baseline: Vec<Engine>,
    /// The Python that runs them. torch needs torch and transformers, ctranslate2 also ctranslate2,
    /// and onnxruntime torch, onnxruntime and onnx [default: python3]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Timed rounds, after one untimed round
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// File for the record: command, commit, machine and every sample
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing: render the tables of this page from the records in the folder of the same
    /// name
    #[arg(long, value_name = "PAGE", conflicts_with_all = ["json", "model", "shape", "profile"])]
    render: Option<PathBuf>,
    /// With --render, write nothing, and fail if the page does not match its records
    #[arg(long, requires = "render")]
    check: bool,
    /// File of the arms
    #[arg(
        long,
        default_value_os_t = assets::path("experiments/arms.toml"),
        hide_short_help = true
    )]
    arms_file: PathBuf,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
    /// Type of the weights, also in PyTorch
    #[arg(long, default_value = "f32", value_parser = choice::float())]
    dtype: FloatType,
    /// Types of the weights of linear layers, on flex, each in its own rows: `stored` uses weights
    /// as stored, the others pack them for products in that type
    #[arg(
        long,
        value_name = "TYPE,…",
        value_delimiter = ',',
        default_value = "stored",
        value_parser = choice::parser(WEIGHTS)
    )]
    weights: Vec<Option<ProductType>>,
}

/// The weights of linear layers in a row: packed for products of a type, or as stored.
const WEIGHTS: &[Choice<Option<ProductType>>] = &[
    ("stored", None, ""),
    ("f32", Some(ProductType::F32), ""),
    ("bf16", Some(ProductType::Bf16), ""),
    ("int8", Some(ProductType::Int8), ""),
    ("int4", Some(ProductType::Int4), ""),
];

/// Baselines of timing.
const BASELINES: &[Choice<Engine>] = &[
    (
        "torch",
        Engine::Torch,
        "PyTorch: fused (SDPA) and plain attention",
    ),
    ("ctranslate2", Engine::Ctranslate2, "CTranslate2"),
    ("onnxruntime", Engine::Onnxruntime, "ONNX Runtime"),
];

/// Measurements.
const PARTS: &[Choice<Scope>] = &[
    (
        "model",
        Scope::Model,
        "A forward pass to the logits of the last token",
    ),
    ("attention", Scope::Attention, "One layer's attention"),
    (
        "gradients",
        Scope::Gradients,
        "One layer's attention, and the gradients of its inputs",
    ),
    (
        "memory",
        Scope::Memory,
        "Peak memory of a forward pass, in fresh processes",
    ),
    (
        "first-token",
        Scope::FirstToken,
        "Loading and the first token, in fresh processes",
    ),
    (
        "decode",
        Scope::Decode,
        "Tokens generated after contexts, the time to read the contexts through the cache, and the \
         size of the cache",
    ),
    (
        "accuracy",
        Scope::Accuracy,
        "Distance of logits from those of the CPU in f32",
    ),
    (
        "training",
        Scope::Training,
        "A training step of a small model",
    ),
];

impl Args {
    /// The device and type of the measurement.
    fn place(&self) -> Place {
        Place::new(&self.device, self.dtype.name())
    }

    /// The shape of random weights, if none are loaded.
    fn drawn(&self) -> Option<Shape> {
        match self.model {
            Some(_) => None,
            None => Some(self.shape.unwrap_or(Shape::Gpt2)),
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if let Some(page) = &args.render {
        return match args.check {
            true => check(page),
            false => Ok(declared()?.write(page)?),
        };
    }
    let device = device::parse(&args.device)?;
    let arms = arms(&args, &ARMS)?;
    let decoding = decoding(&args)?;
    let found = args.model.as_ref().map(|model| args.hub.find(model));
    let found = found.transpose()?;
    let (model, dense) = dense(&args, found.as_ref(), &device)?;
    let place = args.place();
    let (command, commit) = (super::command_line(), super::commit());
    let mut known = arms.clone();
    for arm in &decoding.arms {
        if !known.iter().any(|one| one.id == arm.id) {
            known.push(arm.clone());
        }
    }
    let mut record = begin(command, commit, model, &place, known, args.runs)?;
    let page = declared()?;
    let start = Instant::now();
    let folder = tempfile::tempdir().context("a folder for checkpoints")?;
    let progress = Progress::new(plan(&args, arms.len(), &decoding));
    let told = |text: &str| progress.begins(text);
    let benchmark = Benchmark {
        arms,
        baselines: args.baseline.clone(),
        weights: args.weights.clone(),
        python: args.python.clone(),
        runs: args.runs,
        memory: memory_cell::Args::worker(
            found.map(|found| found.folder).unwrap_or_default(),
            args.drawn(),
            WeightsArgs::default(),
            &args.device,
        )?,
        first_token: FirstToken {
            folder: folder.path().to_owned(),
            worker: Worker {
                program: std::env::current_exe()?,
                arguments: ["first-token", "--device", &args.device]
                    .map(str::to_owned)
                    .into(),
            },
            int8: args.weights.contains(&Some(ProductType::Int8)),
        },
        decoding,
        progress: &told,
        place,
        processor: device::parse("flex").ok(),
        shared: Shared::default(),
        dense,
    };
    for (scope, length) in units(&args) {
        record
            .measurements
            .extend(benchmark.measure(scope, length)?);
        record.seconds = start.elapsed().as_secs_f64().round();
        record.samples = record.measurements.len();
        // The measurements are saved, whatever happens afterwards.
        if let Some(path) = &args.json {
            store::write(path, &record)?;
        }
    }
    progress.ends();
    println!("{}", page.tables(&[record])?);
    if let Some(path) = &args.json {
        println!("{}", path.display());
    }
    Ok(())
}

/// The declared goals and tables.
fn declared() -> Result<Page> {
    let path = assets::path("performance.toml");
    assets::check(&path)?;
    Ok(Page::read(&path)?)
}

fn check(page: &Path) -> Result<()> {
    let [new, old] = declared()?.rendered(page)?;
    ensure!(
        new == old,
        "{} does not match its records: run the same command without --check",
        page.display()
    );
    println!("{} matches its records", page.display());
    Ok(())
}

/// The given arms, or those of `default`.
fn arms(args: &Args, default: &[&str]) -> Result<Vec<ArmSpec>> {
    let known = read_arms(&args.arms_file)?;
    let default = || ArmList::of_ids(default);
    let list = args.arms.clone().unwrap_or_else(default);
    list.specs(&known).context("--arms")
}

fn decoding(args: &Args) -> Result<Decoding> {
    Ok(Decoding {
        arms: match args.only.contains(&Scope::Decode) {
            true => arms(args, &DECODING)?,
            false => Vec::new(),
        },
        contexts: match args.lengths.is_empty() {
            true => decode::CONTEXTS.to_vec(),
            false => args.lengths.clone(),
        },
    })
}

fn dense(args: &Args, found: Option<&Found>, device: &Device) -> Result<(Model, Gpt2)> {
    let (name, dense, hash) = match found {
        Some(found) => {
            let folder = &found.folder;
            let own = folder.file_name().unwrap_or(folder.as_os_str());
            let name = found.name().map(str::to_owned);
            let name = name.unwrap_or_else(|| own.to_string_lossy().into_owned());
            let model = load_dense(folder, device);
            let model = model.with_context(|| format!("--model {}", folder.display()))?;
            (name, model, hash::of_files(&model_files(folder)?)?)
        }
        None => {
            let shape = args.drawn().unwrap_or(Shape::Gpt2);
            let config = shape.config()?;
            let hash = hash::of_bytes(&serde_json::to_vec(&config)?);
            let model = Gpt2::init(&config, 0, device)?;
            (format!("{shape}-shape"), model, hash)
        }
    };
    let info = ModelInfo::of(name, &dense);
    Ok((Model { info, hash }, dense))
}

/// The measurements, in order.
fn units(args: &Args) -> Vec<(Scope, usize)> {
    let scopes: Vec<Scope> = match args.profile {
        true => vec![Scope::Profile, Scope::TokenProfile],
        false => args.only.clone(),
    };
    let lengths = match args.lengths.is_empty() {
        true => LENGTHS.as_slice(),
        false => &args.lengths,
    };
    scopes
        .into_iter()
        .flat_map(|scope| match scope {
            Scope::FirstToken | Scope::Decode | Scope::Training => vec![(scope, 0)],
            _ => lengths.iter().map(|&length| (scope, length)).collect(),
        })
        .collect()
}

/// The approximate number of progress messages.
fn plan(args: &Args, arms: usize, decoding: &Decoding) -> u64 {
    let runs = args.runs;
    let is_torch = |engine: &&Engine| **engine == Engine::Torch;
    let torch = args.baseline.iter().filter(is_torch).count() as u64;
    let peers = args.baseline.len() as u64 - torch;
    let weights = args.weights.len() as u64;
    let arms = arms as u64 * weights;
    let [decoders, contexts] = [decoding.arms.len(), decoding.contexts.len()].map(|n| n as u64);
    let [decoders, peers] = [decoders, peers].map(|n| n * weights);
    units(args)
        .iter()
        .map(|(scope, _)| match scope {
            Scope::Model | Scope::Attention | Scope::Gradients => {
                (runs + 1) * (arms + 2 + 3 * torch)
            }
            Scope::Memory => runs.min(3) * (arms + 2 * torch),
            Scope::FirstToken => (runs + 1) * (2 * (1 + torch) + peers),
            Scope::Decode => decoders + (runs + 1) * (decoders + torch + peers) * contexts,
            Scope::Training => (runs + 1) * (1 + torch),
            Scope::Accuracy => arms + torch,
            Scope::Profile => (runs + 1) * arms,
            Scope::TokenProfile => (runs * TOKENS + 1) * arms,
        })
        .sum()
}

/// A progress bar on a terminal, otherwise a line for each part.
struct Progress {
    bar: ProgressBar,
    last: std::cell::RefCell<String>,
}

impl Progress {
    fn new(steps: u64) -> Self {
        Self {
            bar: super::bar(steps, "{bar:30} {percent:>3} %, {eta} left, {msg}"),
            last: String::new().into(),
        }
    }

    fn begins(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.inc(1);
        // Rows are interleaved, so one line for all of them suffices.
        let what = text.split(':').next().unwrap_or(text);
        if self.bar.is_hidden() && *self.last.borrow() != what {
            eprintln!("{what}");
            what.clone_into(&mut self.last.borrow_mut());
        }
    }

    fn ends(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_hub::HubConfig;

    use super::*;
    use crate::commands::options;

    fn args(words: &[&str]) -> Args {
        options::parsed(words)
    }

    fn settings(args: &Args) -> String {
        let said = |error: anyhow::Error| format!("{error:#}");
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            (
                &args.model,
                args.hub.config(HubConfig::new("cache")).offline
            ),
            (args.drawn(), args.place()),
            arms(args, &ARMS).map_err(said),
            decoding(args).map_err(said),
            (
                units(args),
                args.runs,
                (&args.baseline, &args.weights),
                &args.python
            ),
            (&args.json, &args.arms_file),
            (&args.render, args.check),
        )
    }

    pub fn every_option_counts() {
        options::check(&["", "--render page.md"], settings);
    }

    fn ids(arms: &[ArmSpec]) -> Vec<&str> {
        arms.iter().map(|arm| arm.id.as_str()).collect()
    }

    #[test]
    fn who_decodes_and_after_what_has_a_default_of_its_own() -> Result<()> {
        let all = args(&["--only", "decode"]);
        let found = decoding(&all)?;
        assert_eq!(ids(&found.arms), DECODING);
        assert_eq!(found.contexts, decode::CONTEXTS);
        assert_eq!(units(&all), [(Scope::Decode, 0)]);
        assert_eq!(ids(&arms(&all, &ARMS)?), ARMS);

        let few = args(&["--only", "decode", "--arms", "local", "--lengths", "7,9"]);
        let found = decoding(&few)?;
        assert_eq!(
            (ids(&found.arms), found.contexts),
            (vec!["local"], vec![7, 9])
        );
        // One cache, and two contexts in a first round and seven timed ones.
        assert_eq!(plan(&few, 1, &decoding(&few)?), 1 + 8 * 2);

        let none = decoding(&args(&["--only", "model"]))?;
        assert!(none.arms.is_empty());
        let error = decoding(&args(&["--only", "decode", "--arms", "dens"]));
        assert!(error.is_err_and(|error| format!("{error:#}").contains("unknown arm dens")));
        Ok(())
    }
}
