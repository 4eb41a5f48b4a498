//! The options of `finetune`, and the settings that they give.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use bsbr_attention::{ArmConfig, ArmError};
use bsbr_convert::{Companion, FloatType, SaveOptions};
use bsbr_data::dataset::Piece;
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::PositionExtension;
use bsbr_report::datasets::Catalogue;
use bsbr_train::config::AdamW;
use bsbr_train::finetune::{Dataset, FinetuneConfig, Mix, Objective, Trainable};
use bsbr_train::{Devices, Recompute, RunOptions, Strategy};
use burn::tensor::Device;

use crate::commands::choice::{self, Choice};
use crate::commands::hub::HubArgs;
use crate::commands::minutes;
use crate::commands::positions::Longer;
use crate::commands::texts::{self, Named};
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
    pub model: PathBuf,
    #[command(flatten)]
    pub hub: HubArgs,
    /// The arm to convert to, such as moments, moments:exact_clusters=0,state=true, local or dense
    /// (`convert --help` lists all settings); `kept` trains the model without conversion
    #[arg(long, value_name = "ARM|kept", default_value = "moments", value_parser = arm)]
    pub arm: Arm,
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
    #[arg(long, default_value = "lm", value_parser = choice::parser(OBJECTIVES))]
    objective: Objective,
    /// Trained parameters
    #[arg(long, default_value = "all", value_parser = choice::parser(PARAMETERS))]
    train: Trainable,
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
    pub window: usize,
    /// Train the model for texts of N tokens with the memory of --window tokens: its position table
    /// gets N rows as with `convert --positions`, and each window is divided into --position-chunks
    /// pieces that are placed at random positions, in order (docs/long-texts.md)
    #[arg(long, value_name = "N")]
    pub positions: Option<usize>,
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
    /// Whether the backward pass computes blocks a second time, so that only one block's
    /// activations are in memory. This takes a third more time; `auto` does so if all activations
    /// would take more than 2 GiB. The resulting weights are the same
    #[arg(long, default_value = "auto", value_parser = choice::parser(RECOMPUTE))]
    recompute: Recompute,
    /// Type used for computation. Weights and their updates, losses, norms of gradients and
    /// summaries of chunks are always f32. On flex, bf16 rounds only the factors of products with
    /// the weights of linear layers and of the output layer, in both passes; it is faster than f32
    /// on a CPU with AVX512-BF16, and f16 is slower. Devices that do not support the type are
    /// refused
    #[arg(long, default_value = "f32", value_parser = choice::float())]
    precision: FloatType,
    /// Element type of the weights in OUT [default: that of --precision]
    #[arg(long, value_parser = choice::float())]
    dtype: Option<FloatType>,
    /// Folder for checkpoints [default: OUT with the suffix .checkpoints]
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Minutes between checkpoints
    #[arg(long, default_value = "2", value_parser = minutes)]
    checkpoint_minutes: Duration,
    /// Output folder for the trained model; it must be empty or not exist
    #[arg(long, default_value = "results/finetuned")]
    pub out: PathBuf,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
    /// Devices that share the work of a step, such as cuda:0,cuda:1; the first one holds the model
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "DEVICE,DEVICE",
        conflicts_with = "device"
    )]
    devices: Vec<String>,
    /// How the gradients of several devices are combined
    #[arg(
        long,
        default_value = "multi-device",
        requires = "devices",
        value_parser = choice::parser(STRATEGIES)
    )]
    strategy: Strategy,
    /// Print plain lines instead of the dashboard, as if not on a terminal
    #[arg(long)]
    pub no_dashboard: bool,
}

/// The arm of all layers; `None` keeps the arm of each. An alias, because clap takes an `Option`
/// for an option that may be missing.
pub type Arm = Option<ArmConfig>;

fn arm(text: &str) -> Result<Arm, ArmError> {
    match text {
        "kept" => Ok(None),
        arm => arm.parse().map(Some),
    }
}

/// Training objectives.
const OBJECTIVES: &[Choice<Objective>] = &[
    ("lm", Objective::Lm, "The next token"),
    (
        "distill",
        Objective::Distill {
            temperature: 1.0,
            mix: 0.5,
        },
        "Half the original's next-token distribution, half the next token",
    ),
    (
        "transfer",
        Objective::Transfer,
        "The output of the original's attention, layer by layer",
    ),
];

/// Trained parameters.
const PARAMETERS: &[Choice<Trainable>] = &[
    ("all", Trainable::All, "Every parameter"),
    ("attention", Trainable::Attention, "The attention"),
    (
        "retrieval",
        Trainable::Retrieval,
        "The arm's own parameters; moments gets routings, temperatures, biases and gains",
    ),
    (
        "lora",
        Trainable::Lora {
            rank: 8,
            alpha: 16.0,
        },
        "Low-rank adapters, which are merged at the end",
    ),
];

/// Whether the backward pass recomputes blocks.
const RECOMPUTE: &[Choice<Recompute>] = &[
    ("auto", Recompute::Auto, ""),
    ("on", Recompute::On, ""),
    ("off", Recompute::Off, ""),
];

/// How the gradients of several devices are combined.
const STRATEGIES: &[Choice<Strategy>] = &[
    (
        "multi-device",
        Strategy::MultiDevice,
        "Copied to the first device and summed there; works with any devices",
    ),
    (
        "ddp",
        Strategy::Ddp,
        "Summed by the devices together; CUDA only",
    ),
];

impl Args {
    /// The settings of the run.
    pub fn config(&self) -> FinetuneConfig {
        FinetuneConfig {
            seed: self.seed,
            epochs: self.epochs,
            objective: self.objective,
            train: self.train,
            optimizer: AdamW {
                learning_rate: self.lr,
                ..AdamW::default()
            },
            batch_size: self.batch_size,
            grad_accumulation: self.grad_accumulation,
            patience: self.patience,
            position_chunks: self.positions.map_or(1, |_| self.position_chunks),
            precision: self.precision,
            ..FinetuneConfig::default()
        }
    }

    /// The objective in words.
    pub fn objective(&self) -> String {
        let found = OBJECTIVES.iter().find(|one| one.1 == self.objective);
        found.map_or("", |one| one.2).to_lowercase()
    }

    /// The training data.
    pub fn dataset(
        &self,
        tokenizer: &TextTokenizer,
        window: usize,
        scratch: &Path,
    ) -> Result<Dataset> {
        let named = match self.data.is_empty() {
            true => Named::default(),
            false => texts::sort(&self.data, &Catalogue::read(&self.experiments)?)?,
        };
        Ok(match (named.files.as_slice(), named.datasets.as_slice()) {
            ([], []) => {
                let mix = self.positions.map_or(Mix::Plain, |_| Mix::Questions);
                Dataset::storybook(tokenizer, mix, self.seed, window, self.windows, 16)?
            }
            (files, []) => Dataset::texts(tokenizer, files, window, scratch)?,
            ([], [one]) => {
                let texts = texts::training(one, &self.hub)?.map(|text| text.map(Piece::whole));
                Dataset::documents(tokenizer, texts, window, one.label.clone(), scratch)?
            }
            _ => bail!("--data: give files, or one dataset"),
        })
    }

    /// The device of the model, and those that share the work.
    pub fn devices(&self) -> Result<(Device, Devices)> {
        if self.devices.is_empty() {
            return Ok((device::parse(&self.device)?, Devices::default()));
        }
        let list = device::parse_list(&self.devices)?;
        Ok((list[0].clone(), Devices::new(list, self.strategy)?))
    }

    /// The options of the run.
    pub fn run_options(&self, devices: Devices) -> RunOptions {
        RunOptions {
            checkpoint_every: self.checkpoint_minutes,
            recompute: self.recompute,
            devices,
            ..RunOptions::default()
        }
    }

    /// The position table to train.
    pub fn longer(&self) -> Option<Longer<'_>> {
        Some(Longer {
            positions: self.positions?,
            extension: self.position_extension,
            least: None,
            texts: &[],
        })
    }

    /// The options for saving the model.
    pub fn save_options(&self, companions: Vec<Companion>) -> SaveOptions {
        SaveOptions {
            dtype: self.dtype.unwrap_or(self.precision),
            companions,
            ..SaveOptions::default()
        }
    }

    /// The folder for checkpoints.
    pub fn folder(&self) -> PathBuf {
        self.checkpoints.clone().unwrap_or_else(|| {
            let mut name = self.out.clone().into_os_string();
            name.push(".checkpoints");
            name.into()
        })
    }
}

#[cfg(test)]
pub mod tests {
    use bsbr_data::storybook::{Domain, Split, Storybook};

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
        let lines = ["", "--positions 9", "--devices flex"];
        options::check(&lines, |args| settings(args, &tokenizer, folder.path()));
    }

    /// Each of these changes a setting of the run.
    #[test]
    fn options_are_the_settings_that_they_name() {
        let line = "--seed 3 --epochs 4 --lr 0.25 --batch-size 5 --grad-accumulation 6 \
                    --patience 7 --objective distill --train lora --precision bf16 \
                    --checkpoint-minutes 1.5 --recompute off --out a/b";
        let words: Vec<&str> = line.split_whitespace().collect();
        let args: Args = options::parsed(&words);
        let config = args.config();
        assert_eq!((config.seed, config.epochs, config.patience), (3, 4, 7));
        assert_eq!((config.batch_size, config.grad_accumulation), (5, 6));
        assert_eq!(config.rows(), 30);
        assert_eq!(config.optimizer.learning_rate, 0.25);
        assert!(matches!(config.objective, Objective::Distill { .. }));
        assert!(matches!(config.train, Trainable::Lora { .. }));
        assert_eq!(config.precision, FloatType::Bf16);
        let run = args.run_options(Devices::default());
        assert_eq!(run.checkpoint_every, Duration::from_secs(90));
        assert!(matches!(run.recompute, Recompute::Off));
        assert_eq!(args.save_options(Vec::new()).dtype, FloatType::Bf16);
        assert_eq!(args.folder(), Path::new("a/b.checkpoints"));
    }
}
