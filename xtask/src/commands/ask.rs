//! `cargo xtask ask`

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bsbr_data::storybook::{Split, Storybook, TrainingSpec};

use super::continuation::{self, Output};
use super::convert::Precision;
use super::generate::{Sampling, defaults, read_file};
use super::hub::HubArgs;
use super::interrupt::Interrupt;
use super::model;
use super::reading::{Reader, stored};
use super::weights::WeightsArgs;
use crate::{assets, device};

/// The placeholder for the question in a template.
const QUESTION: &str = "{question}";

/// Read a document once, and answer questions about it.
///
/// Questions come from standard input, one per line. Each is answered from a copy of the cache of
/// the document, so answers do not affect each other. Answers go to standard output, times to
/// standard error. Ctrl-C ends an answer, and between answers the command.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub
    #[arg(long, value_name = "DIR|NAME", default_value_os_t = assets::bundled())]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The document
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// File for the cache of the document. It is written after reading, or when reading is
    /// interrupted; the next run continues from there. A file of another model or document is
    /// refused
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Form of a question after the document; `\n` stands for a line end
    #[arg(
        long,
        value_name = "TEXT",
        default_value = r"\nQuestion: {question} Answer:"
    )]
    template: String,
    #[command(flatten)]
    sampling: Sampling,
    /// Text that ends an answer; may be given several times; `\n` stands for a line end
    #[arg(
        long = "stop",
        value_name = "TEXT",
        default_value = r"\n",
        allow_hyphen_values = true
    )]
    stop_strings: Vec<String>,
    /// First write a storybook document of about this many words to --document, and print questions
    /// that it answers. The bundled model was trained on such documents
    #[arg(long, value_name = "WORDS")]
    make_document: Option<usize>,
    /// Print one JSON object per answer: its text and ids, times, speeds and the size of the cache
    #[arg(long)]
    json: bool,
    /// Element type of the weights in memory
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    weights: WeightsArgs,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let template = lines_ended(&args.template);
    ensure!(
        template.contains(QUESTION),
        "--template: expected {QUESTION} where the question goes"
    );
    if let Some(words) = args.make_document {
        make_document(&args.document, words, args.sampling.seed)?;
    }
    let document = read_file(&args.document)?;
    let device = device::parse(&args.device)?;
    let folder = args.hub.find(&args.model)?.folder;
    let mut loaded = model::open(&folder, &device, args.dtype.map(Into::into), false)?;
    loaded.model = args.weights.pack(loaded.model)?;
    let tokenizer = model::tokenizer(&folder, &loaded.config)?;
    let ids = tokenizer.encode_document(&document)?;
    ensure!(!ids.is_empty(), "{}: is empty", args.document.display());
    let interrupt = Interrupt::listen()?;
    let reader = Reader {
        model: &loaded.model,
        ids: &ids,
        piece: args.sampling.prefill_chunk_size,
        stored: stored(
            args.cache.as_deref(),
            &args.model,
            &loaded.model,
            &tokenizer,
        )?,
        extends: true,
    };
    let Some(cache) = reader.read(&interrupt)? else {
        return Ok(());
    };
    interrupt.end();
    let defaults = defaults(&loaded)?;
    let config = args
        .sampling
        .config(&defaults, ids.len(), loaded.config.vocab_size);
    let mut stop_strings = defaults.stop_strings;
    stop_strings.extend(args.stop_strings.iter().map(|text| lines_ended(text)));
    let is_terminal = std::io::stdin().is_terminal();
    for line in std::io::stdin().lock().lines() {
        let question = line.context("reading a question")?;
        if question.trim().is_empty() {
            continue;
        }
        let put = template.replace(QUESTION, question.trim());
        let start = Instant::now();
        let mut prompt = ids.clone();
        prompt.extend(tokenizer.encode(&put)?);
        interrupt.begin();
        let generation = loaded
            .model
            .generation_after(&prompt, &config, cache.clone())?;
        let copied = start.elapsed();
        let mut out: Box<dyn Write> = match args.json {
            true => Box::new(std::io::sink()),
            false => Box::new(std::io::stdout().lock()),
        };
        let output = Output {
            writer: &mut out,
            tokenizer: Some(&tokenizer),
            prompt: &prompt,
            stop_strings: &stop_strings,
            end_tokens: &config.stop_tokens,
        };
        let outcome = continuation::run(generation, output, &interrupt)?;
        interrupt.end();
        let text = outcome.text.as_deref().unwrap_or_default();
        let behind = match (args.json, text.ends_with('\n')) {
            (true, _) => format!("{}\n", serde_json::to_string(&outcome)?),
            (false, true) => String::new(),
            (false, false) => "\n".to_owned(),
        };
        if !continuation::show(&mut std::io::stdout(), &behind)? {
            return Ok(());
        }
        eprintln!(
            "copy of the cache: {}, question of {} tokens: {}, {} tokens of answer: {}{}",
            continuation::seconds(copied.as_secs_f64()),
            prompt.len() - ids.len(),
            continuation::seconds(outcome.prompt_seconds),
            outcome.new_tokens,
            continuation::seconds(outcome.new_seconds),
            if is_terminal { "\n" } else { "" },
        );
    }
    Ok(())
}

/// A text with the line ends that were written as `\n`.
fn lines_ended(text: &str) -> String {
    text.replace(r"\n", "\n")
}

/// Writes a document with facts, and prints possible questions.
fn make_document(path: &Path, words: usize, seed: u64) -> Result<()> {
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("{}: a document is made at a new place", path.display()))?;
    let spec = TrainingSpec {
        target_words: words,
        questions_share: 0.0,
        ..TrainingSpec::default()
    };
    let document = Storybook::new(seed).training_document(Split::Test, 0, &spec);
    file.write_all(document.text.as_bytes())
        .with_context(|| path.display().to_string())?;
    eprintln!(
        "{}: {words} words; it answers, among others:",
        path.display()
    );
    for (fact, _) in document.facts.iter().take(6) {
        eprintln!("  {} ({})", fact.question(), fact.value);
    }
    Ok(())
}
