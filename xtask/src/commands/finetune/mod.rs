//! `cargo xtask finetune`

mod dashboard;
mod lines;

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
use bsbr_gpt2::Gpt2;
use bsbr_report::datasets::Catalogue;
use bsbr_train::config::AdamW;
use bsbr_train::finetune::{
    Dataset, FinetuneConfig, History, Objective, Precision as Computed, Trainable, curves, finetune,
};
use bsbr_train::{Devices, Observer, Recompute, RunOptions, Strategy};
use burn::tensor::Device;
use clap::ValueEnum;
use dashboard::Dashboard;
use lines::Lines;

use super::card;
use super::convert::{Precision, calibrated};
use super::hub::HubArgs;
use super::model;
use super::texts::{self, Named};
use crate::{assets, device};

/// Convert a GPT-2 and train it to win back what the conversion lost.
///
/// Writes checkpoints as it goes; stopped with Ctrl-C or killed, the same command goes on from the
/// last. On a terminal, a dashboard shows the curves: `q` and then `s` stop the run as Ctrl-C does,
/// the arrow keys choose what is shown. The result is a model folder with a record of the training, a
/// plot of its curves and a model card.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model to convert, or of a converted one to train further, or a name on the Hub
    #[arg(long, value_name = "DIR|NAME", default_value_os_t = assets::bundled())]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The attention to convert to, such as moments, moments:exact_clusters=0,state=true, local or
    /// dense (`convert --help` has all settings); `kept` trains the model as it is
    #[arg(long, value_name = "ARM|kept", default_value = "moments")]
    arm: Arm,
    /// Times the data is read
    #[arg(long, default_value_t = 1)]
    epochs: u64,
    /// Files to train on (.txt, .jsonl, .json or .parquet; .txt.gz, .jsonl.gz), or one of wikitext-2, wikitext-103,
    /// cnn-dailymail, storybook [default: storybook]
    #[arg(long, num_args = 1.., value_name = "FILE|NAME")]
    data: Vec<String>,
    /// Folder of the file that says where datasets are
    #[arg(long, default_value_os_t = assets::path("experiments"), hide_short_help = true)]
    experiments: PathBuf,
    /// What is learned
    #[arg(long, value_enum, default_value_t = Goal::Lm)]
    objective: Goal,
    /// What is changed
    #[arg(long, value_enum, default_value_t = Part::All)]
    train: Part,
    /// Learning rate
    #[arg(long, default_value_t = 5e-5)]
    lr: f64,
    /// Windows of a forward pass
    #[arg(long, default_value_t = 1)]
    batch_size: usize,
    /// Forward passes of a step, whose gradients are averaged
    #[arg(long, default_value_t = 4)]
    grad_accumulation: usize,
    /// Tokens of a window
    #[arg(long, default_value_t = 1024)]
    window: usize,
    /// Windows of an epoch of storybook
    #[arg(long, default_value_t = 256)]
    windows: u64,
    /// Epochs without a better validation after which training ends; 0 for never
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// Seed of data, order and adapters
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Whether blocks are computed a second time in the backward pass: a third more time, and the
    /// memory of one block's activations; `auto` does it where those of all would take 2 GiB. The
    /// weights that come out are the same
    #[arg(long, value_enum, default_value_t = Recomputing::Auto)]
    recompute: Recomputing,
    /// What the model computes in. Weights and their updates are f32 whatever it is, and so are
    /// losses, norms of gradients and summaries of chunks. A device that cannot compute in it says so
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Element type of the weights in OUT [default: that of --precision]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Folder for checkpoints [default: beside OUT, with .checkpoints behind its name]
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Minutes between checkpoints
    #[arg(long, default_value = "2", value_parser = super::minutes)]
    checkpoint_minutes: Duration,
    /// Folder that the trained model is written to; it must not exist or be empty
    #[arg(long, default_value = "results/finetuned")]
    out: PathBuf,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
    /// Devices that share the work of a step, such as cuda:0,cuda:1; the first keeps the model
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "DEVICE,DEVICE",
        conflicts_with = "device"
    )]
    devices: Vec<String>,
    /// How the gradients of several devices come together
    #[arg(long, value_enum, default_value_t = Together::MultiDevice, requires = "devices")]
    strategy: Together,
    /// Show plain lines where there would be a dashboard, as on what is no terminal
    #[arg(long)]
    no_dashboard: bool,
}

/// The attention that is trained.
#[derive(Debug, Clone)]
enum Arm {
    /// What each layer has.
    Kept,
    /// One for all layers.
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

/// How the gradients of several devices come together.
#[derive(Clone, Copy, ValueEnum)]
enum Together {
    /// They are copied to the first device and summed there; any devices
    MultiDevice,
    /// The devices sum them among themselves; CUDA only
    Ddp,
}

/// What is learned.
#[derive(Clone, Copy, ValueEnum)]
enum Goal {
    /// The next token
    Lm,
    /// The original's distribution of the next token, and the next token, half each
    Distill,
    /// The output of the original's attention, layer by layer
    Transfer,
}

impl Goal {
    /// What is learned, in words.
    fn describe(self) -> &'static str {
        match self {
            Self::Lm => "the next token",
            Self::Distill => {
                "the original's distribution of the next token, and the next token, half each"
            }
            Self::Transfer => "the output of the original's attention, layer by layer",
        }
    }
}

/// What is changed.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Every parameter
    All,
    /// The attention
    Attention,
    /// What the arm has of its own; moments is given routings, temperatures, biases and gains
    Retrieval,
    /// Low-rank adapters, which are merged at the end
    Lora,
}

/// Whether blocks are computed a second time.
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
            precision: match self.precision {
                Precision::F32 => Computed::F32,
                Precision::F16 => Computed::F16,
                Precision::Bf16 => Computed::Bf16,
            },
            ..FinetuneConfig::default()
        }
    }

    /// What is trained on.
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

    /// How the run is carried out.
    fn run_options(&self, devices: Devices) -> RunOptions {
        RunOptions {
            checkpoint_every: self.checkpoint_minutes,
            recompute: self.recompute.into(),
            devices,
            ..RunOptions::default()
        }
    }

    /// How the model is saved.
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

/// What is trained: the model that was loaded from `folder` with `arm`, calibrated on storybook text
/// where that compresses its states.
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

/// What is stored of a run beside its model.
#[derive(serde::Serialize)]
struct Record<'a> {
    command: String,
    config: &'a FinetuneConfig,
    data: &'a str,
    data_hash: &'a str,
    window: usize,
    windows: u64,
    history: &'a History,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let _lock = super::claim(&args.out)?;
    let (device, devices) = args.devices()?;
    let found = args.hub.find(&args.model)?;
    let folder = found.folder.clone();
    let loaded = model::open(&folder, &device, Some(FloatType::F32), false)?;
    let tokenizer = model::tokenizer(&folder, &loaded.config)?;
    let window = args.window.min(loaded.config.n_positions);
    let checkpoints = args.folder();
    std::fs::create_dir_all(&checkpoints)
        .with_context(|| format!("--checkpoints {}", checkpoints.display()))?;
    let data = args.dataset(&tokenizer, window, &checkpoints)?;
    if data.without_text() > 0 {
        eprintln!("left out: {} rows whose text is null", data.without_text());
    }
    let original = loaded.model.clone();
    let start = start(loaded.model, &args.arm, &folder)?;
    let config = args.config();
    let mut options = args.save_options(loaded.folder.companions());
    check_output(&start, &args.out, &options)
        .with_context(|| format!("--out {}", args.out.display()))?;
    let run = args.run_options(devices);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst))?;
    let mut progress: Box<dyn Observer> = match args.no_dashboard || !Dashboard::has_a_viewer() {
        true => Box::new(Lines::new(stop)),
        false => Box::new(Dashboard::new(
            stop,
            config.transfer_epochs + config.epochs,
            data.steps(config.rows()),
        )),
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
    // The terminal is the user's again before anything else is said.
    drop(progress);
    let tuned = tuned.with_context(|| format!("--checkpoints {}", checkpoints.display()))?;
    if !tuned.done {
        return Ok(());
    }
    let record = Record {
        command: super::command_line(),
        config: &config,
        data: data.name(),
        data_hash: data.hash(),
        window: data.window_size(),
        windows: data.windows(),
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
    let section = card::training(&tuned.history, data.name(), args.objective.describe());
    card.sections.push(section);
    options.card = Some(card.to_markdown(tuned.model.config()));
    save_model(&tuned.model, &args.out, &options)
        .with_context(|| format!("writing {}", args.out.display()))?;
    println!("{}", args.out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use bsbr_data::storybook::{Domain, Split, Storybook};
    use bsbr_gpt2::Gpt2Config;

    use super::*;
    use crate::commands::options;

    /// What the command ends in. The data are a function of the seed and of the window, so their hash
    /// stands for them.
    fn settings(args: &Args, tokenizer: &TextTokenizer, scratch: &Path) -> String {
        let hub = args.hub.config(bsbr_hub::HubConfig::new("cache"));
        let data = args.dataset(tokenizer, args.window, scratch);
        let data = data.map(|data| (data.hash().to_owned(), data.windows(), data.window_size()));
        let devices = args
            .devices()
            .map(|(first, all)| format!("{first:?} {all:?}"));
        let said = |error: anyhow::Error| format!("{error:#}");
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
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
        )
    }

    #[test]
    fn every_option_counts() {
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

    /// Each of these is a setting of the run, not only another one.
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
