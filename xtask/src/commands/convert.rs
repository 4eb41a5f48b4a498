//! `cargo xtask convert`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bsbr_attention::{ArmConfig, HeadLevel};
use bsbr_convert::{
    Companion, ConversionPlan, FloatType, LayerArms, SaveOptions, calibrate, check_output,
    choose_levels, convert, save_model,
};
use bsbr_data::dataset::pieces;
use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::{PieceEncoder, TextTokenizer};
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension, ProductType, TokenBatch};

use super::arms;
use super::card;
use super::choice;
use super::hub::HubArgs;
use super::model;
use super::positions::{self, Longer};
use crate::device;

/// Convert a GPT-2 folder to BSBR.
///
/// The result is a Hugging Face folder with the original's weights. Its config.json names the arm
/// of every layer, and Python files beside it let `transformers` run it with
/// `trust_remote_code=True`. A model card, README.md, describes it. With `--arm dense` it is a
/// plain GPT-2 again.
///
/// An arm is a kind of attention. All arms except `published` see near tokens exactly: the first
/// tokens of the text, the token's own chunk, and the chunk before it. `published` sees its own
/// chunk exactly. The arms differ in what they keep of far tokens:
///
/// `dense` keeps every key and value and loses nothing. It answers questions about far facts. Its
/// cache grows by all keys and values of each token; with `dense:kv_bits=8` it is smaller, and
/// rounded.
///
/// `local` keeps nothing of far tokens, so it cannot answer questions about them. Its cache does
/// not grow.
///
/// `published` keeps one state per chunk. Single far tokens are lost, so it cannot answer questions
/// about them. Its cache grows by a state per chunk.
///
/// `moments`, the default, keeps a few clusters of each far chunk, and its keys and values in 8
/// bits. Every query looks up the tokens of the clusters that match it best. Tokens of other
/// clusters are represented by the mean of their cluster. It answers questions about far facts. Its
/// cache grows like that of `dense`, with fewer bytes.
///
/// `moments:exact_clusters=0` keeps only the clusters, and with `state=true` also a state per
/// chunk. Single far tokens are lost, so it answers few questions about them. Its cache grows by a
/// few vectors per chunk, and by the state if there is one.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub, such as openai-community/gpt2
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// Output folder; it must be empty or not exist
    #[arg(long)]
    out: PathBuf,
    #[arg(long, value_name = "ARM", default_value = "moments", help = arms::HELP.as_str())]
    arm: ArmConfig,
    /// Layers with another arm, such as 0-5=moments:clusters=16,kv_bits=4,7=dense
    #[arg(long, value_name = "LAYERS=ARM,…")]
    layers: Option<LayerArms>,
    /// Limit what each head sees of far text: only its near field, or clusters without lookups, as
    /// long as predictions on the calibration text change by at most this many nats per position
    /// (KL), such as 0.0001. By default every head uses lookups
    #[arg(long, value_name = "NATS", value_parser = budget)]
    level_budget: Option<f64>,
    /// Number of positions of the result, more than the model was trained with, so that it can read
    /// texts of this many tokens. In `moments`, only heads that lower the loss beyond the trained
    /// positions by --level-budget or more (default here: 0.01) see beyond their near field,
    /// because repeated positions would mislead the others
    #[arg(long, value_name = "N")]
    positions: Option<usize>,
    /// Embeddings of positions beyond the trained ones: repeat:window=N, the last N rows repeated;
    /// crossfade:window=N,fade=N, the same with N rows mixed between repetitions;
    /// interpolate:positions=N, the table stretched; or hierarchical, a sum of two rows [default:
    /// repeat with half of the table]
    #[arg(long, value_name = "FORM", requires = "positions")]
    position_extension: Option<PositionExtension>,
    /// Texts for the calibration of compressed states, and for the choice of what each head sees.
    /// With --positions, they must be longer than the trained positions [default: storybook text]
    #[arg(long, value_name = "FILE")]
    calibrate: Vec<PathBuf>,
    /// Element type of the written weights
    #[arg(long, default_value = "f32", value_parser = choice::float())]
    dtype: FloatType,
    /// Store the matrices of linear layers in 8 bits (int8, the only type), in a format that
    /// `transformers` does not read; everything else has the type --dtype. For other types, pass
    /// --weights to the command that reads the model
    #[arg(
        long,
        value_name = "TYPE",
        hide_possible_values = true,
        value_parser = choice::products()
    )]
    weights: Option<ProductType>,
    /// Output folder of `reproduce` for the same model: its results for this arm are added to the
    /// model card
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Accept weights that are NaN or infinite
    #[arg(long)]
    allow_non_finite: bool,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

impl Args {
    /// The arm of each layer.
    fn plan(&self) -> ConversionPlan {
        ConversionPlan::new(self.arm.clone(), self.layers.clone().unwrap_or_default())
    }

    /// The options for saving the result.
    fn save_options(&self, companions: Vec<Companion>) -> SaveOptions {
        SaveOptions {
            dtype: self.dtype,
            weights: self.weights,
            companions,
            card: None,
            allow_non_finite: self.allow_non_finite,
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let plan = args.plan();
    let _lock = super::claim(&args.out)?;
    let device = device::parse(&args.device)?;
    let found = args.hub.find(&args.model)?;
    let folder = found.folder.clone();
    let loaded = model::open(&folder, &device, None, args.allow_non_finite)?;
    let arms = plan.arms(loaded.config.n_layer)?;
    let mut options = args.save_options(loaded.folder.companions());
    let model = convert(loaded.model, &plan)?;
    check_output(&model, &args.out, &options)
        .with_context(|| format!("--out {}", args.out.display()))?;
    let model = match (args.positions, args.level_budget) {
        (Some(positions), least) => {
            let longer = Longer {
                positions,
                extension: args.position_extension,
                least,
                texts: &args.calibrate,
            };
            positions::extended(model, &folder, &longer)?
        }
        (None, Some(budget)) => with_levels(model, &folder, &args.calibrate, budget)?,
        (None, None) => model,
    };
    let model = if arms.iter().any(|arm| arm.compression() > 1) {
        calibrated(model, &folder, &args.calibrate)?
    } else {
        model
    };
    let mut card = card::card(&args.out, &args.model, &found);
    card.int8 = options.weights.is_some();
    if let Some(results) = &args.results {
        let section = card::measured(results, &folder, &model.config())?;
        card.sections.push(section);
    }
    options.card = Some(card.to_markdown(&model.config()));
    save_model(&model, &args.out, &options)
        .with_context(|| format!("writing {}", args.out.display()))?;
    println!("{}", args.out.display());
    Ok(())
}

/// Tokens per window for the calibration of compressed states, and the number of windows.
const CALIBRATION: (usize, usize) = (1024, 16);
/// The same for levels of heads, which need far tokens.
const LEVELS: (usize, usize) = (2048, 4);

/// A number of nats.
fn budget(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(budget) if budget.is_finite() && budget >= 0.0 => Ok(budget),
        _ => Err("expected a number of nats, 0 or more, such as 0.0001".to_owned()),
    }
}

/// The model with the lowest level for each head that stays within the budget; prints the result.
fn with_levels(model: Gpt2, folder: &Path, files: &[PathBuf], budget: f64) -> Result<Gpt2> {
    let batches = calibration(files, folder, &model.config(), LEVELS)?;
    let passes = super::passes("choosing levels of heads");
    let (model, chosen) = choose_levels(model, &batches, budget, passes)?;
    let levels = chosen.levels.concat();
    let count = |level| levels.iter().filter(|of| **of == level).count();
    println!(
        "{} heads have lookups, {} see clusters, {} see only the near field; KL {:.6} nats per \
         position, {:.6} with lookups in all heads",
        count(HeadLevel::Lookups),
        count(HeadLevel::Clusters),
        count(HeadLevel::Near),
        chosen.kl_after,
        chosen.kl_before,
    );
    Ok(model)
}

/// The model loaded from `folder`, with the bases of its compressed states calibrated on the texts
/// in `files`, or on storybook text if there are none.
pub(super) fn calibrated(model: Gpt2, folder: &Path, files: &[PathBuf]) -> Result<Gpt2> {
    let batches = calibration(files, folder, &model.config(), CALIBRATION)?;
    Ok(calibrate(model, &batches)?)
}

/// Text windows for calibration: their tokens and number.
fn calibration(
    files: &[PathBuf],
    folder: &Path,
    config: &Gpt2Config,
    (window, count): (usize, usize),
) -> Result<Vec<TokenBatch>> {
    let tokenizer = model::tokenizer(folder, config)
        .context("calibration on text needs the model's tokenizer")?;
    let window = window.min(config.n_positions);
    let mut ids = tokens(files, &tokenizer, window * count)?;
    if files.is_empty() {
        let book = Storybook::new(0);
        for index in 0.. {
            if ids.len() >= window * count {
                break;
            }
            for domain in Domain::ALL {
                ids.extend(tokenizer.encode(&book.plain(Split::Train, domain, index, 700).text)?);
            }
        }
    }
    ensure!(
        !ids.is_empty(),
        "the calibration text is empty; give --calibrate FILE with some text"
    );
    ids.chunks(window)
        .take(count)
        .map(|ids| Ok(TokenBatch::single(ids)?))
        .collect()
}

/// At least `count` tokens of the texts in `files`, or as many as they have.
pub(super) fn tokens(
    files: &[PathBuf],
    tokenizer: &TextTokenizer,
    count: usize,
) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut encoder = PieceEncoder::new(tokenizer);
    let texts = files.iter().map(|file| pieces(file));
    for piece in texts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        let piece = piece?;
        encoder.push(&piece.text, &mut ids)?;
        if piece.last {
            encoder.finish(&mut ids)?;
        }
        if ids.len() >= count {
            break;
        }
    }
    Ok(ids)
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_hub::HubConfig;

    use super::*;
    use crate::commands::options;

    fn settings(args: &Args) -> String {
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            args.plan(),
            args.save_options(Vec::new()),
            args.hub.config(HubConfig::new("cache")).offline,
            (&args.model, &args.out, &args.results, &args.calibrate),
            (args.level_budget, args.positions),
            args.position_extension,
            args.device,
        )
    }

    pub fn every_option_counts() {
        let lines = [
            "--model model --out out",
            "--model model --out out --positions 9",
        ];
        options::check(&lines, settings);
    }
}
