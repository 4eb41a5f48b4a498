//! `cargo xtask generate`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bsbr_convert::{FloatType, LoadedModel};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{GenerationConfig, GenerationDefaults, Gpt2, PREFILL_CHUNK_SIZE, TokenBatch};

use super::choice;
use super::continuation::{self, Output};
use super::hub::HubArgs;
use super::interrupt::Interrupt;
use super::prompt::Prompt;
use super::reading::{Reader, stored};
use super::weights::WeightsArgs;
use super::{ids, model};
use crate::{assets, device};

/// Continue a text, or lists of token ids, with a dense or converted model.
///
/// Text is printed token by token. The reading time and the time per new token are printed to
/// standard error. Ctrl-C stops generation and keeps the text so far.
///
/// Defaults come from the model's generation_config.json.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub
    #[arg(long, value_name = "DIR|NAME", default_value_os_t = assets::bundled())]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The text to continue, which is printed first; `-` reads it from standard input
    #[arg(
        long,
        value_name = "TEXT|-",
        allow_hyphen_values = true,
        required_unless_present_any = ["prompt_file", "ids_file"],
        conflicts_with_all = ["prompt_file", "ids_file"]
    )]
    prompt: Option<String>,
    /// A file of text to continue. As with standard input, a final line end is removed, and only
    /// the continuation is printed
    #[arg(long, value_name = "FILE", conflicts_with = "ids_file")]
    prompt_file: Option<PathBuf>,
    /// A JSON list of lists of token ids to continue
    #[arg(long, value_name = "FILE")]
    ids_file: Option<PathBuf>,
    /// File for the cache of the prompt. If it does not exist, it is written; if it exists and the
    /// prompt begins with its tokens, generation starts from it. A file of another model or text is
    /// refused
    #[arg(long, value_name = "FILE", conflicts_with = "ids_file")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    sampling: Sampling,
    /// Text that ends generation, in addition to the stop strings of the model's folder; may be
    /// given several times
    #[arg(long = "stop", value_name = "TEXT", allow_hyphen_values = true)]
    stop_strings: Vec<String>,
    /// Print a JSON list of the new ids as the last line; a list of lists for several rows
    #[arg(long, conflicts_with = "json")]
    output_ids: bool,
    /// Print only one JSON object at the end: the new text and ids, times, speeds and the size of
    /// the cache
    #[arg(long)]
    json: bool,
    /// Element type of the weights in memory [default: on flex, matrices stored in f16 or bf16 keep
    /// that type, which takes half the memory and less time, and computation is in f32; other
    /// devices use their own default]
    #[arg(long, value_parser = choice::float())]
    dtype: Option<FloatType>,
    #[command(flatten)]
    weights: WeightsArgs,
    /// Accept weights that are NaN or infinite
    #[arg(long)]
    allow_non_finite: bool,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

/// Options of sampling.
#[derive(Debug, Clone, clap::Args)]
pub struct Sampling {
    /// Maximum number of new tokens [default: the model's, else 64]
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Sampling temperature; 0 decodes greedily [default: the model's, else 0]
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Sample only from the K most probable tokens [default: the model's, else all]
    #[arg(long)]
    top_k: Option<usize>,
    /// Sample only from the smallest set of most probable tokens with this total probability
    /// [default: the model's, else 1]
    #[arg(long, allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Sample only from tokens with at least this share of the highest probability [default: the
    /// model's, else 0]
    #[arg(long, allow_negative_numbers = true)]
    min_p: Option<f64>,
    /// Penalty for tokens that already occur; 1 disables it [default: the model's, else 1]
    #[arg(long, allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,
    /// Never repeat a sequence of N tokens; 0 allows repetitions [default: the model's, else 0]
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<usize>,
    /// Seed of sampling
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Prompt tokens per pass; fewer take less memory
    #[arg(long, value_name = "N", default_value_t = PREFILL_CHUNK_SIZE)]
    pub prefill_chunk_size: usize,
}

/// The number of new tokens if neither an option nor the folder sets it.
const NEW_TOKENS: usize = 64;

impl Sampling {
    /// The folder's settings for a prompt of `prompt` tokens, overridden by the options.
    pub fn config(
        &self,
        defaults: &GenerationDefaults,
        prompt: usize,
        vocab_size: usize,
    ) -> GenerationConfig {
        let folder = defaults.settings(vocab_size);
        let within_length = |most: usize| most.saturating_sub(prompt).max(1);
        GenerationConfig {
            max_new_tokens: self
                .max_new_tokens
                .or(defaults.max_new_tokens)
                .or(defaults.max_length.map(within_length))
                .unwrap_or(NEW_TOKENS),
            temperature: self.temperature.unwrap_or(folder.temperature),
            top_k: self.top_k.or(folder.top_k),
            top_p: self.top_p.unwrap_or(folder.top_p),
            min_p: self.min_p.unwrap_or(folder.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(folder.repetition_penalty),
            no_repeat_ngram_size: self
                .no_repeat_ngram_size
                .unwrap_or(folder.no_repeat_ngram_size),
            seed: self.seed,
            prefill_chunk_size: self.prefill_chunk_size,
            ..folder
        }
    }
}

/// The generation settings of a model's folder; warns of unsupported ones.
///
/// # Errors
///
/// Names the invalid file.
pub fn defaults(loaded: &LoadedModel) -> Result<GenerationDefaults> {
    let defaults = loaded.folder.generation(&loaded.config)?;
    for key in &defaults.unsupported {
        eprintln!("warning: `{key}` of generation_config.json is not supported and has no effect");
    }
    Ok(defaults)
}

impl Args {
    /// Strings that end the text: the folder's, then those of the command line.
    fn stop_strings(&self, defaults: &GenerationDefaults) -> Vec<String> {
        [&defaults.stop_strings[..], &self.stop_strings].concat()
    }

    /// Whether to print a list of the new ids, for a text or for lists.
    fn prints_ids(&self, is_text: bool) -> bool {
        self.output_ids || !is_text
    }

    /// The text to continue.
    fn text(&self) -> Option<Text<'_>> {
        match (&self.prompt, &self.prompt_file) {
            (Some(prompt), _) if prompt == "-" => Some(Text::Input),
            (Some(prompt), _) => Some(Text::Given(prompt)),
            (None, Some(file)) => Some(Text::File(file)),
            (None, None) => None,
        }
    }
}

/// A text to continue.
#[derive(Debug, Clone, Copy)]
enum Text<'a> {
    /// On the command line; it is printed.
    Given(&'a str),
    /// In standard input.
    Input,
    /// In a file.
    File(&'a Path),
}

impl Text<'_> {
    /// The text, if it must be read. A file that cannot be opened fails before the model is loaded.
    fn open(self) -> Result<Option<Prompt>> {
        Ok(match self {
            Text::Given(_) => None,
            Text::Input => Some(Prompt::input()),
            Text::File(file) => Some(Prompt::file(file)?),
        })
    }
}

/// The ids of a prompt, with the special tokens that the tokenizer adds.
fn encoded(prompt: Prompt, tokenizer: &TextTokenizer, model: &Gpt2) -> Result<Vec<u32>> {
    let [mut ids, after] = tokenizer.around_prompt()?;
    prompt.encode(tokenizer, model.max_positions(), &mut ids)?;
    ids.extend(after);
    Ok(ids)
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let text = args.text();
    let prompt = text.map(Text::open).transpose()?.flatten();
    let device = device::parse(&args.device)?;
    let folder = args.hub.find(&args.model)?.folder;
    let mut loaded = model::open(&folder, &device, args.dtype, args.allow_non_finite)?;
    loaded.model = args.weights.pack(loaded.model)?;
    let tokenizer = match text {
        None => None,
        Some(_) => Some(model::tokenizer(&folder, &loaded.config)?),
    };
    let rows = match (&tokenizer, prompt, text, &args.ids_file) {
        (Some(tokenizer), Some(prompt), ..) => vec![encoded(prompt, tokenizer, &loaded.model)?],
        (Some(tokenizer), None, Some(Text::Given(text)), _) => vec![tokenizer.encode_prompt(text)?],
        (.., Some(file)) => ids::read(file)?,
        _ => bail!("give --prompt, --prompt-file or --ids-file"),
    };
    let defaults = defaults(&loaded)?;
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let config = args
        .sampling
        .config(&defaults, longest, loaded.config.vocab_size);
    let stop_strings = args.stop_strings(&defaults);
    let batch = TokenBatch::padded(&rows)?;
    let interrupt = Interrupt::listen()?;
    let generation = match (&args.cache, &tokenizer, rows.as_slice()) {
        (Some(file), Some(tokenizer), [prompt]) => {
            // Invalid settings fail before anything is read.
            let _ = loaded.model.generation(&batch, &config)?;
            let reader = Reader {
                model: &loaded.model,
                ids: &prompt[..prompt.len() - 1],
                piece: config.prefill_chunk_size,
                stored: stored(Some(file), &args.model, &loaded.model, tokenizer)?,
                extends: false,
            };
            match reader.read(&interrupt)? {
                Some(cache) => loaded.model.generation_after(prompt, &config, cache)?,
                None => return Ok(()),
            }
        }
        _ => loaded.model.generation(&batch, &config)?,
    };
    let mut out: Box<dyn Write> = match args.json {
        true => Box::new(std::io::sink()),
        false => Box::new(std::io::stdout().lock()),
    };
    if let Some(Text::Given(prompt)) = text {
        continuation::show(&mut out, prompt)?;
    }
    let output = Output {
        writer: &mut out,
        tokenizer: tokenizer.as_ref(),
        prompt: rows.first().map(Vec::as_slice).unwrap_or_default(),
        stop_strings: &stop_strings,
        end_tokens: &config.stop_tokens,
    };
    let outcome = continuation::run(generation, output, &interrupt)?;
    if tokenizer.is_some() {
        continuation::show(&mut out, "\n")?;
    }
    if args.json {
        let json = serde_json::to_string(&outcome).context("writing the outcome")?;
        continuation::show(&mut std::io::stdout(), &format!("{json}\n"))?;
        return Ok(());
    }
    if args.prints_ids(tokenizer.is_some()) {
        let json = match outcome.ids.as_slice() {
            [row] => serde_json::to_string(row),
            rows => serde_json::to_string(rows),
        };
        let json = json.context("writing the new ids")?;
        continuation::show(&mut out, &format!("{json}\n"))?;
    }
    eprintln!("{}", outcome.describe());
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_hub::HubConfig;

    use super::*;
    use crate::commands::options;

    /// The resulting settings of sampling, for a folder with its own settings and for one without.
    pub fn sampled(sampling: &Sampling) -> String {
        let folder = GenerationDefaults {
            do_sample: true,
            max_new_tokens: Some(9),
            ..GenerationDefaults::default()
        };
        let configs = [GenerationDefaults::default(), folder]
            .map(|defaults| sampling.config(&defaults, 3, 50));
        format!("{configs:?}")
    }

    fn settings(args: &Args) -> String {
        let defaults = GenerationDefaults::default();
        format!(
            "{:?} {:?} {} {:?} {:?} {:?} {:?}",
            (
                &args.model,
                args.hub.config(HubConfig::new("cache")).offline
            ),
            (args.text(), &args.ids_file, &args.cache),
            sampled(&args.sampling),
            (
                args.stop_strings(&defaults),
                args.prints_ids(true),
                args.json
            ),
            (args.dtype, args.weights.products()),
            args.allow_non_finite,
            args.device,
        )
    }

    pub fn every_option_counts() {
        // A text to continue, or what is given instead of it.
        let lines = ["--prompt a", "--prompt-file a", "--ids-file a"];
        options::check(&lines, settings);
    }
}
