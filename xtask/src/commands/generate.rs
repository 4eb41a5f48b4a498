//! `cargo xtask generate`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bsbr_gpt2::{GenerationConfig, GenerationDefaults, TokenBatch};

use super::convert::Precision;
use super::hub::{BUNDLED, HubArgs};
use super::{ids, model};
use crate::device;

/// Continue a text, or lists of token ids, with a dense or converted model.
///
/// Settings that are not given are those of the model's generation_config.json.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub
    #[arg(long, value_name = "DIR|NAME", default_value = BUNDLED)]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The text to continue
    #[arg(
        long,
        required_unless_present = "ids_file",
        conflicts_with = "ids_file"
    )]
    prompt: Option<String>,
    /// A JSON list of lists of token ids to continue
    #[arg(long, value_name = "FILE")]
    ids_file: Option<PathBuf>,
    /// Tokens to add [default: 64]
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// What logits are divided by; 0 takes the likeliest token each time [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw from the K likeliest tokens only
    #[arg(long)]
    top_k: Option<usize>,
    /// Draw from the fewest likeliest tokens that make up this probability [default: 1]
    #[arg(long, allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Makes tokens that were there before less likely; 1 for none [default: 1]
    #[arg(long, allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print a JSON list of the new ids as the last line: of lists where several rows were given
    #[arg(long)]
    output_ids: bool,
    /// Element type of the weights in memory [default: on flex, matrices that are stored in f16 or
    /// bf16 stay so, which takes half the memory and less time, and what is computed is f32; other
    /// devices have their own]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Load weights that are NaN or infinite
    #[arg(long)]
    allow_non_finite: bool,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let device = device::parse(&args.device)?;
    let folder = args.hub.find(&args.model)?.folder;
    let loaded = model::open(
        &folder,
        &device,
        args.dtype.map(Into::into),
        args.allow_non_finite,
    )?;
    let tokenizer = match &args.prompt {
        None => None,
        Some(_) => Some(model::tokenizer(&folder, loaded.config.vocab_size)?),
    };
    let rows = match (&args.prompt, &tokenizer, &args.ids_file) {
        (Some(prompt), Some(tokenizer), _) => vec![tokenizer.encode_prompt(prompt)?],
        (_, _, Some(file)) => ids::read(file)?,
        _ => bail!("give --prompt or --ids-file"),
    };
    let defaults = loaded.folder.generation(&loaded.config)?;
    for key in &defaults.unsupported {
        eprintln!("warning: `{key}` of generation_config.json is not supported, and has no effect");
    }
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let config = with_flags(&args, &defaults, longest, loaded.config.vocab_size);
    let batch = TokenBatch::padded(&rows)?;
    let new = loaded.model.generate(&batch, &config)?;
    let mut out = std::io::stdout().lock();
    if let (Some(tokenizer), Some(ids)) = (&tokenizer, new.first()) {
        writeln!(
            out,
            "{}{}",
            args.prompt.unwrap_or_default(),
            tokenizer.decode(ids)?
        )?;
    }
    if args.output_ids || tokenizer.is_none() {
        let json = match new.as_slice() {
            [row] => serde_json::to_string(row),
            rows => serde_json::to_string(rows),
        };
        writeln!(out, "{}", json.context("writing the new ids")?)?;
    }
    Ok(())
}

/// Tokens to add where neither a flag nor the folder says how many.
const NEW_TOKENS: usize = 64;

/// The folder's settings, for a prompt of `prompt` tokens, with those that flags change.
fn with_flags(
    args: &Args,
    defaults: &GenerationDefaults,
    prompt: usize,
    vocab_size: usize,
) -> GenerationConfig {
    let folder = defaults.settings(vocab_size);
    let within_length = |most: usize| most.saturating_sub(prompt).max(1);
    GenerationConfig {
        max_new_tokens: args
            .max_new_tokens
            .or(defaults.max_new_tokens)
            .or(defaults.max_length.map(within_length))
            .unwrap_or(NEW_TOKENS),
        temperature: args.temperature.unwrap_or(folder.temperature),
        top_k: args.top_k.or(folder.top_k),
        top_p: args.top_p.unwrap_or(folder.top_p),
        repetition_penalty: args.repetition_penalty.unwrap_or(folder.repetition_penalty),
        seed: args.seed,
        ..folder
    }
}
