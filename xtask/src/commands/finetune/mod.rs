//! `cargo xtask finetune`

mod dashboard;
mod lines;
mod pace;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bsbr_attention::{ArmConfig, ArmError};
use bsbr_convert::{
    Companion, ConversionPlan, FloatType, SaveOptions, check_output, convert, save_model,
    uncalibrated_layers,
};
use bsbr_data::dataset::Piece;
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_files::write_file;
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_report::arms::{dense_form, of_layers};
use bsbr_report::datasets::Catalogue;
use bsbr_report::validation::{self, Side, sides};
use bsbr_train::config::AdamW;
use bsbr_train::finetune::{
    Dataset, FinetuneConfig, History, Objective, Precision as Computed, Trainable, curves, finetune,
};
use bsbr_train::{Devices, Observer, Recompute, RunOptions, Strategy};
use burn::tensor::Device;
use clap::ValueEnum;
use dashboard::Dashboard;
use lines::Lines;
use pace::Pace;

use super::card;
use super::convert::{Precision, calibrated};
use super::hub::HubArgs;
use super::model;
use super::positions::{self, Longer};
use super::texts::{self, Named};
use crate::{assets, device};

/// Convert a GPT-2, and train it to recover what the conversion lost.
///
/// Checkpoints are written regularly; after Ctrl-C or a kill, the same command resumes from the
/// last one. On a terminal, a dashboard shows the curves: `q` and then `s` stop the run like
/// Ctrl-C, and the arrow keys select the plot. The result is a model folder with a record of the
/// training, a plot of its curves and a model card.
#[derive(clap::Args)]
pub struct Args {
    /// Folder or name on the Hub of the model to convert, or of a converted model to train further
    #[arg(long, value_name = "DIR|NAME", default_value_os_t = assets::bundled())]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The arm to convert to, such as moments, moments:exact_clusters=0,state=true, local or dense
    /// (`convert --help` lists all settings); `kept` trains the model without conversion
    #[arg(long, value_name = "ARM|kept", default_value = "moments")]
    arm: Arm,
    /// Number of epochs
    #[arg(long, default_value_t = 1)]
    epochs: u64,
    /// Files to train on (.txt, .jsonl, .json or .parquet; .txt.gz, .jsonl.zst), or one of
    /// wikitext-2, wikitext-103, cnn-dailymail, storybook [default: storybook]
    #[arg(long, num_args = 1.., value_name = "FILE|NAME")]
    data: Vec<String>,
    /// Folder of the file that lists datasets
    #[arg(long, default_value_os_t = assets::path("experiments"), hide_short_help = true)]
    experiments: PathBuf,
    /// Training objective
    #[arg(long, value_enum, default_value_t = Goal::Lm)]
    objective: Goal,
    /// Trained parameters
    #[arg(long, value_enum, default_value_t = Part::All)]
    train: Part,
    /// Learning rate
    #[arg(long, default_value_t = 5e-5)]
    lr: f64,
    /// Micro-batch size, in windows
    #[arg(long, default_value_t = 1)]
    batch_size: usize,
    /// Micro-batches per step; their gradients are averaged
    #[arg(long, default_value_t = 4)]
    grad_accumulation: usize,
    /// Tokens per window
    #[arg(long, default_value_t = 1024)]
    window: usize,
    /// Train the model for texts of N tokens with the memory of --window tokens: its position table
    /// gets N rows as with `convert --positions`, and each window is divided into --position-chunks
    /// pieces that are placed anywhere in it, in order. A second run with `--arm kept --window N`
    /// trains on a few long windows
    #[arg(long, value_name = "N")]
    positions: Option<usize>,
    /// Initial embeddings of positions beyond the trained ones, as in
    /// `convert --position-extension` [default: repeat with half of the table]
    #[arg(long, value_name = "FORM", requires = "positions")]
    position_extension: Option<PositionExtension>,
    /// Number of separately placed pieces of a window
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 2,
        requires = "positions"
    )]
    position_chunks: usize,
    /// Windows per epoch of storybook
    #[arg(long, default_value_t = 256)]
    windows: u64,
    /// Stop after this many epochs without a better validation; 0 for never
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// Seed of data, order and adapters
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Whether the backward pass recomputes blocks, for the memory of one block's activations and a
    /// third more time; `auto` does so if all activations would take 2 GiB. The resulting weights
    /// are the same
    #[arg(long, value_enum, default_value_t = Recomputing::Auto)]
    recompute: Recomputing,
    /// Type of the computation. Weights and their updates, losses, norms of gradients and summaries
    /// of chunks are always f32. On flex, bf16 rounds only the factors of products with the weights of
    /// linear layers and of the output layer, in both passes; it is faster than f32 on a CPU with
    /// AVX512-BF16, and f16 is slower. Devices that do not support the type are refused
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Element type of the weights in OUT [default: that of --precision]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Folder for checkpoints [default: OUT with the suffix .checkpoints]
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Minutes between checkpoints
    #[arg(long, default_value = "2", value_parser = super::minutes)]
    checkpoint_minutes: Duration,
    /// Output folder for the trained model; it must be empty or not exist
    #[arg(long, default_value = "results/finetuned")]
    out: PathBuf,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
    /// Devices that share the work of a step, such as cuda:0,cuda:1; the first holds the model
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "DEVICE,DEVICE",
        conflicts_with = "device"
    )]
    devices: Vec<String>,
    /// How the gradients of several devices are combined
    #[arg(long, value_enum, default_value_t = Together::MultiDevice, requires = "devices")]
    strategy: Together,
    /// Print plain lines instead of the dashboard, as if not on a terminal
    #[arg(long)]
    no_dashboard: bool,
}

/// The arm to train.
#[derive(Debug, Clone)]
enum Arm {
    /// The existing arm of each layer.
    Kept,
    /// One arm for all layers.
    Of(ArmConfig),
}

impl FromStr for Arm {
    type Err = ArmError;

    fn from_str(text: &str) -> Result<Self, ArmError> {
        match text {
            "kept" => Ok(Self::Kept),
            arm => arm.parse().map(Self::Of),
        }
    }
}

/// How the gradients of several devices are combined.
#[derive(Clone, Copy, ValueEnum)]
enum Together {
    /// Copied to the first device and summed there; any devices
    MultiDevice,
    /// Summed by the devices together; CUDA only
    Ddp,
}

/// The training objective.
#[derive(Clone, Copy, ValueEnum)]
enum Goal {
    /// The next token
    Lm,
    /// Half the original's next-token distribution, half the next token
    Distill,
    /// The output of the original's attention, layer by layer
    Transfer,
}

impl Goal {
    /// The objective in words.
    fn describe(self) -> &'static str {
        match self {
            Self::Lm => "the next token",
            Self::Distill => {
                "the original's next-token distribution and the next token, weighted equally"
            }
            Self::Transfer => "the output of the original's attention, layer by layer",
        }
    }
}

/// The trained parameters.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Every parameter
    All,
    /// The attention
    Attention,
    /// The arm's own parameters; moments gets routings, temperatures, biases and gains
    Retrieval,
    /// Low-rank adapters, which are merged at the end
    Lora,
}

/// Whether the backward pass recomputes blocks.
#[derive(Clone, Copy, ValueEnum)]
enum Recomputing {
    Auto,
    On,
    Off,
}

impl From<Recomputing> for Recompute {
    fn from(recomputing: Recomputing) -> Self {
        match recomputing {
            Recomputing::Auto => Self::Auto,
            Recomputing::On => Self::On,
            Recomputing::Off => Self::Off,
        }
    }
}

impl Args {
    fn config(&self) -> FinetuneConfig {
        FinetuneConfig {
            seed: self.seed,
            epochs: self.epochs,
            objective: match self.objective {
                Goal::Lm => Objective::Lm,
                Goal::Distill => Objective::Distill {
                    temperature: 1.0,
                    mix: 0.5,
                },
                Goal::Transfer => Objective::Transfer,
            },
            train: match self.train {
                Part::All => Trainable::All,
                Part::Attention => Trainable::Attention,
                Part::Retrieval => Trainable::Retrieval,
                Part::Lora => Trainable::Lora {
                    rank: 8,
                    alpha: 16.0,
                },
            },
            optimizer: AdamW {
                learning_rate: self.lr,
                ..AdamW::default()
            },
            batch_size: self.batch_size,
            grad_accumulation: self.grad_accumulation,
            patience: self.patience,
            position_chunks: self.positions.map_or(1, |_| self.position_chunks),
            precision: match self.precision {
                Precision::F32 => Computed::F32,
                Precision::F16 => Computed::F16,
                Precision::Bf16 => Computed::Bf16,
            },
            ..FinetuneConfig::default()
        }
    }

    /// The training data.
    fn dataset(&self, tokenizer: &TextTokenizer, window: usize, scratch: &Path) -> Result<Dataset> {
        let named = match self.data.is_empty() {
            true => Named::default(),
            false => texts::sort(&self.data, &Catalogue::read(&self.experiments)?)?,
        };
        Ok(match (named.files.as_slice(), named.datasets.as_slice()) {
            ([], []) => Dataset::storybook(tokenizer, self.seed, window, self.windows, 16)?,
            (files, []) => Dataset::texts(tokenizer, files, window, scratch)?,
            ([], [one]) => {
                let texts = texts::training(one, &self.hub)?.map(|text| text.map(Piece::whole));
                Dataset::documents(tokenizer, texts, window, one.label.clone(), scratch)?
            }
            _ => bail!("--data: give files, or one dataset"),
        })
    }

    /// The device of the model, and those that share the work.
    fn devices(&self) -> Result<(Device, Devices)> {
        if self.devices.is_empty() {
            return Ok((device::parse(&self.device)?, Devices::default()));
        }
        let list = device::parse_list(&self.devices)?;
        let strategy = match self.strategy {
            Together::MultiDevice => Strategy::MultiDevice,
            Together::Ddp => Strategy::Ddp,
        };
        let first = list[0].clone();
        Ok((first, Devices::new(list, strategy)?))
    }

    /// The options of the run.
    fn run_options(&self, devices: Devices) -> RunOptions {
        RunOptions {
            checkpoint_every: self.checkpoint_minutes,
            recompute: self.recompute.into(),
            devices,
            ..RunOptions::default()
        }
    }

    /// The position table to train.
    fn longer(&self) -> Option<Longer<'_>> {
        Some(Longer {
            positions: self.positions?,
            extension: self.position_extension,
            least: None,
            texts: &[],
        })
    }

    /// The options for saving the model.
    fn save_options(&self, companions: Vec<Companion>) -> SaveOptions {
        SaveOptions {
            dtype: self.dtype.unwrap_or(self.precision).into(),
            companions,
            ..SaveOptions::default()
        }
    }

    /// The folder for checkpoints.
    fn folder(&self) -> PathBuf {
        self.checkpoints.clone().unwrap_or_else(|| {
            let mut name = self.out.clone().into_os_string();
            name.push(".checkpoints");
            name.into()
        })
    }
}

/// The model to train: the one loaded from `folder`, with `arm`, calibrated on storybook text if
/// the arm compresses its states.
fn start(model: Gpt2, arm: &Arm, folder: &Path) -> Result<Gpt2> {
    let model = match arm {
        Arm::Kept => model,
        Arm::Of(arm) => convert(model, &ConversionPlan::uniform(arm.clone()))?,
    };
    match uncalibrated_layers(&model).is_empty() {
        true => Ok(model),
        false => calibrated(model, folder, &[]),
    }
}

/// The record of a run, stored beside its model.
#[derive(serde::Serialize)]
struct Record<'a> {
    command: String,
    config: &'a FinetuneConfig,
    data: &'a str,
    data_hash: &'a str,
    window: usize,
    windows: u64,
    /// Results of the dense, the converted and the tuned model on the validation windows.
    sides: &'a [Side],
    history: &'a History,
}

/// The message if there is little to recover.
fn little_lost(converted: &Side) -> Option<String> {
    let lost = converted.loses()?;
    let program = crate::program();
    Some(format!(
        "conversion loses {lost} on held-out windows: {} nats per token beyond dense, {} windows. \
         Training continues, to learn this data. It also helps with more positions (`{program} \
         convert --positions N`, then `finetune --arm kept`), and with arms that lose something: \
         summaries only (`--arm moments:exact_clusters=0`), compressed states (`--arm \
         moments:exact_clusters=0,state=true,compression=4`)",
        converted.beyond_dense, converted.windows
    ))
}

/// The tuned model compared with the dense one.
fn tuned_side(dense: &Gpt2, tuned: &Gpt2, data: &Dataset) -> Result<Option<Side>> {
    Ok(sides(dense, &[("tuned", tuned)], data)?.pop())
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let _lock = super::claim(&args.out)?;
    let (device, devices) = args.devices()?;
    let found = args.hub.find(&args.model)?;
    let folder = found.folder.clone();
    let loaded = model::open(&folder, &device, Some(FloatType::F32), false)?;
    let tokenizer = model::tokenizer(&folder, &loaded.config)?;
    let positions = args.positions.unwrap_or(loaded.config.n_positions);
    let window = args.window.min(positions);
    let checkpoints = args.folder();
    std::fs::create_dir_all(&checkpoints)
        .with_context(|| format!("--checkpoints {}", checkpoints.display()))?;
    let data = args.dataset(&tokenizer, window, &checkpoints)?;
    if data.without_text() > 0 {
        eprintln!("skipped: {} rows whose text is null", data.without_text());
    }
    let original = loaded.model.clone();
    let start = start(loaded.model, &args.arm, &folder)?;
    let start = match args.longer() {
        // An existing longer table is trained.
        Some(longer) if longer.positions != start.config().n_positions => {
            positions::extended(start, &folder, &longer)?
        }
        _ => start,
    };
    let config = args.config();
    let mut options = args.save_options(loaded.folder.companions());
    check_output(&start, &args.out, &options)
        .with_context(|| format!("--out {}", args.out.display()))?;
    let run = args.run_options(devices);
    // Windows may be longer than the original's table.
    let dense = dense_form(match window > original.config().n_positions {
        true => start.clone(),
        false => original.clone(),
    })?;
    let [is_dense, was_dense] = [&start, &original].map(|one| of_layers(one) == of_layers(&dense));
    let converted = [("converted", &start)];
    let mut sides = sides(&dense, if is_dense { &[] } else { &converted }, &data)?;
    if let Some(text) = sides.get(1).filter(|_| was_dense).and_then(little_lost) {
        super::report(&text);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst))?;
    let (epochs, steps) = (
        config.transfer_epochs + config.epochs,
        data.steps(config.rows()),
    );
    let mut progress: Box<dyn Observer> = match args.no_dashboard || !Dashboard::has_a_viewer() {
        true => Box::new(Lines::new(stop, Pace::new(epochs, steps))),
        false => Box::new(Dashboard::new(stop, epochs, steps)),
    };
    let tuned = finetune(
        &config,
        start,
        Some(&original),
        &data,
        &checkpoints,
        &run,
        &mut *progress,
    );
    // The terminal must be restored before any other output.
    drop(progress);
    let tuned = tuned.with_context(|| format!("--checkpoints {}", checkpoints.display()))?;
    if !tuned.done {
        return Ok(());
    }
    sides.extend(tuned_side(&dense, &tuned.model, &data)?);
    super::report(&validation::markdown(&sides));
    let record = Record {
        command: super::command_line(),
        config: &config,
        data: data.name(),
        data_hash: data.hash(),
        window: data.window_size(),
        windows: data.windows(),
        sides: &sides,
        history: &tuned.history,
    };
    let beside = [
        ("finetuning.json", serde_json::to_string_pretty(&record)?),
        ("finetuning.svg", curves(&tuned.history)),
    ];
    for (name, text) in beside {
        let path = checkpoints.join(name);
        write_file(&path, text.as_bytes())?;
        options.companions.push(path.into());
    }
    let mut card = card::card(&args.out, &args.model, &found);
    card.trained = true;
    let section = card::training(
        &tuned.history,
        &sides,
        data.name(),
        args.objective.describe(),
    );
    card.sections.push(section);
    options.card = Some(card.to_markdown(&tuned.model.config()));
    save_model(&tuned.model, &args.out, &options)
        .with_context(|| format!("writing {}", args.out.display()))?;
    println!("{}", args.out.display());
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_data::storybook::{Domain, Split, Storybook};
    use bsbr_gpt2::Gpt2Config;

    use super::*;
    use crate::commands::options;

    /// The command's resulting settings. The data depend on the seed and the window, so their hash
    /// represents them.
    fn settings(args: &Args, tokenizer: &TextTokenizer, scratch: &Path) -> String {
        let hub = args.hub.config(bsbr_hub::HubConfig::new("cache"));
        let data = args.dataset(tokenizer, args.window, scratch);
        let data = data.map(|data| (data.hash().to_owned(), data.windows(), data.window_size()));
        let devices = args
            .devices()
            .map(|(first, all)| format!("{first:?} {all:?}"));
        let said = |error: anyhow::Error| format!("{error:#}");
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            (&args.model, &args.arm, &args.out),
            hub.offline,
            args.config(),
            data.map_err(said),
            args.data,
            args.run_options(Devices::default()),
            args.save_options(Vec::new()),
            args.folder(),
            devices.map_err(said),
            args.experiments,
            args.no_dashboard,
            args.longer()
                .map(|longer| (longer.positions, longer.extension)),
        )
    }

    pub fn every_option_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = Storybook::new(7)
            .plain(Split::Train, Domain::Tale, 0, 200)
            .text;
        let tokenizer = TextTokenizer::train_bpe([&text], 300).expect("a tokenizer");
        options::check::<Args>(
            &[],
            &[
                ("model", &[], &["other"]),
                ("offline", &[], &[]),
                ("arm", &[], &["local"]),
                ("epochs", &[], &["2"]),
                ("data", &[], &["storybook", "wikitext-2"]),
                ("experiments", &[], &["elsewhere"]),
                ("objective", &[], &["distill"]),
                ("train", &[], &["lora"]),
                ("lr", &[], &["0.1"]),
                ("batch-size", &[], &["2"]),
                ("grad-accumulation", &[], &["5"]),
                ("window", &[], &["100"]),
                ("windows", &[], &["7"]),
                ("positions", &[], &["4096"]),
                (
                    "position-extension",
                    &["--positions", "4096"],
                    &["hierarchical"],
                ),
                ("position-chunks", &["--positions", "4096"], &["3"]),
                ("patience", &[], &["1"]),
                ("seed", &[], &["1"]),
                ("recompute", &[], &["on"]),
                ("precision", &[], &["bf16"]),
                ("dtype", &[], &["f16"]),
                ("checkpoints", &[], &["there"]),
                ("checkpoint-minutes", &[], &["1"]),
                ("out", &[], &["there"]),
                ("device", &[], &["wgpu"]),
                ("devices", &[], &["flex,flex"]),
                ("strategy", &["--devices", "flex"], &["ddp"]),
                ("no-dashboard", &[], &[]),
            ],
            |args| settings(args, &tokenizer, folder.path()),
        );
    }

    /// Each of these changes a setting of the run.
    #[test]
    fn options_are_the_settings_that_they_name() {
        use clap::Parser;

        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }

        let line = "finetune --seed 3 --epochs 4 --lr 0.25 --batch-size 5 --grad-accumulation 6 \
                    --patience 7 --objective distill --train lora --precision bf16 \
                    --checkpoint-minutes 1.5 --recompute off --out a/b";
        let args = Line::parse_from(line.split_whitespace()).args;
        let config = args.config();
        assert_eq!((config.seed, config.epochs, config.patience), (3, 4, 7));
        assert_eq!((config.batch_size, config.grad_accumulation), (5, 6));
        assert_eq!(config.rows(), 30);
        assert_eq!(config.optimizer.learning_rate, 0.25);
        assert!(matches!(config.objective, Objective::Distill { .. }));
        assert!(matches!(config.train, Trainable::Lora { .. }));
        assert_eq!(config.precision, Computed::Bf16);
        let run = args.run_options(Devices::default());
        assert_eq!(run.checkpoint_every, Duration::from_secs(90));
        assert!(matches!(run.recompute, Recompute::Off));
        assert_eq!(args.save_options(Vec::new()).dtype, FloatType::Bf16);
        assert_eq!(args.folder(), Path::new("a/b.checkpoints"));
    }

    #[test]
    fn an_arm_that_compresses_its_states_is_calibrated_before_it_is_trained() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Storybook::new(7);
        let texts = Domain::ALL.map(|domain| book.plain(Split::Train, domain, 0, 200).text);
        let tokenizer = TextTokenizer::train_bpe(texts, 400).expect("a tokenizer");
        tokenizer.save(folder.path()).expect("a file");
        let config = Gpt2Config {
            vocab_size: tokenizer.vocab_size(),
            n_positions: 48,
            n_embd: 16,
            n_layer: 2,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        let model = Gpt2::init(&config, 1, &Device::default()).expect("a model");
        let arm = "moments:chunk_size=8,clusters=2,state=true,compression=4"
            .parse()
            .expect("an arm");
        let model = start(model, &arm, folder.path()).expect("it is calibrated");
        assert_eq!(model.config().arm(1).compression(), 4);
        assert!(uncalibrated_layers(&model).is_empty());
    }
}
