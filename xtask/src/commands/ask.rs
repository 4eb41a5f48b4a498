//! `cargo xtask ask`

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bsbr_convert::FloatType;
use bsbr_data::storybook::{Split, Storybook, TrainingDocument, TrainingSpec};
use bsbr_gpt2::GenerationDefaults;

use super::choice;
use super::continuation::{self, Output};
use super::generate::{Sampling, defaults};
use super::hub::HubArgs;
use super::interrupt::Interrupt;
use super::model;
use super::prompt::Prompt;
use super::reading::{Reader, stored};
use super::weights::WeightsArgs;
use crate::{assets, device};

/// The placeholder for the question in a template.
const QUESTION: &str = "{question}";

/// Read a document once, and answer questions about it.
///
/// Questions come from standard input, one per line. Each is answered from a copy of the cache of
/// the document, so answers do not affect each other. Answers go to standard output, times to
/// standard error. Ctrl-C ends the current answer or, between answers, the command.
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
    #[arg(long, value_parser = choice::float())]
    dtype: Option<FloatType>,
    #[command(flatten)]
    weights: WeightsArgs,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

impl Args {
    /// The form of a question.
    fn template(&self) -> Result<String> {
        let template = lines_ended(&self.template);
        ensure!(
            template.contains(QUESTION),
            "--template: expected {QUESTION} where the question goes"
        );
        Ok(template)
    }

    /// Strings that end an answer: the folder's, then those of the command line.
    fn stop_strings(&self, defaults: &GenerationDefaults) -> Vec<String> {
        let own = self.stop_strings.iter().map(|text| lines_ended(text));
        defaults.stop_strings.iter().cloned().chain(own).collect()
    }

    /// A document with facts, if requested.
    fn made_document(&self) -> Option<TrainingDocument> {
        let spec = TrainingSpec {
            target_words: self.make_document?,
            questions_share: 0.0,
            ..TrainingSpec::default()
        };
        let book = Storybook::new(self.sampling.seed);
        Some(book.training_document(Split::Test, 0, &spec))
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let template = args.template()?;
    if let Some(document) = args.made_document() {
        write_document(&args.document, &document)?;
    }
    let document = Prompt::file(&args.document)?;
    let device = device::parse(&args.device)?;
    let folder = args.hub.find(&args.model)?.folder;
    let mut loaded = model::open(&folder, &device, args.dtype, false)?;
    loaded.model = args.weights.pack(loaded.model)?;
    let tokenizer = model::tokenizer(&folder, &loaded.config)?;
    let mut ids: Vec<u32> = tokenizer.end_of_text_id().into_iter().collect();
    document.encode(&tokenizer, loaded.model.max_positions(), &mut ids)?;
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
    let stop_strings = args.stop_strings(&defaults);
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
fn write_document(path: &Path, document: &TrainingDocument) -> Result<()> {
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("{}: a document needs a new path", path.display()))?;
    file.write_all(document.text.as_bytes())
        .with_context(|| path.display().to_string())?;
    eprintln!(
        "{}: {} words; some questions that it answers:",
        path.display(),
        document.text.split_whitespace().count()
    );
    for (fact, _) in document.facts.iter().take(6) {
        eprintln!("  {} ({})", fact.question(), fact.value);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_hub::HubConfig;

    use super::*;
    use crate::commands::generate::tests::sampled;
    use crate::commands::options;

    fn settings(args: &Args) -> String {
        format!(
            "{:?} {:?} {:?} {} {:?} {:?} {:?}",
            (
                &args.model,
                args.hub.config(HubConfig::new("cache")).offline
            ),
            (
                &args.document,
                args.made_document().map(|made| made.text),
                &args.cache
            ),
            args.template().map_err(|error| error.to_string()),
            sampled(&args.sampling),
            (args.stop_strings(&GenerationDefaults::default()), args.json),
            (args.dtype, args.weights.products()),
            args.device,
        )
    }

    pub fn every_option_counts() {
        options::check(&["--document a.txt"], settings);
    }

    /// A seed also determines the document.
    #[test]
    fn another_seed_makes_another_document() {
        let document = |seed| {
            let words = [
                "--document",
                "a.txt",
                "--make-document",
                "80",
                "--seed",
                seed,
            ];
            options::parsed::<Args>(&words)
                .made_document()
                .map(|made| made.text)
        };
        assert!(document("1").is_some_and(|text| Some(text) != document("2")));
        assert_eq!(document("1"), document("1"));
    }
}
