//! Reading a prompt and generating, with output for the user or a program.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bsbr_data::tokenizer::{Detokenizer, TextTokenizer};
use bsbr_gpt2::Generation;
use indicatif::{ProgressBar, ProgressState};
use serde::Serialize;

use super::interrupt::Interrupt;

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The requested number of tokens was reached, or every row met an end token.
    Done,
    /// A stop string was reached.
    StopString,
    /// Ctrl-C was pressed.
    Interrupted,
    /// The output was closed.
    Closed,
}

/// The result of a generation.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// New text, if there is a tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// New tokens of each row.
    pub ids: Vec<Vec<u32>>,
    /// Why generation ended.
    pub ended: Ended,
    /// Tokens of the longest prompt.
    pub prompt_tokens: usize,
    /// The number of them that were in the cache.
    pub cached_tokens: usize,
    /// Time to read the others.
    pub prompt_seconds: f64,
    /// Tokens read per second in the longest row.
    pub prompt_tokens_per_second: f64,
    /// New tokens, over all rows.
    pub new_tokens: usize,
    /// Time to generate them.
    pub new_seconds: f64,
    /// New tokens per second, over all rows.
    pub new_tokens_per_second: f64,
    /// Size of the cache in bytes.
    pub cache_bytes: usize,
}

impl Outcome {
    /// A one-line description.
    pub fn describe(&self) -> String {
        let cached = match self.cached_tokens {
            0 => String::new(),
            tokens => format!(" ({tokens} from the cache)"),
        };
        format!(
            "prompt: {} tokens{cached} in {}, {} tokens/s; new: {} tokens in {}, {} tokens/s; \
             cache: {}",
            self.prompt_tokens,
            seconds(self.prompt_seconds),
            rounded(self.prompt_tokens_per_second),
            self.new_tokens,
            seconds(self.new_seconds),
            rounded(self.new_tokens_per_second),
            indicatif::DecimalBytes(self.cache_bytes as u64),
        )
    }
}

/// The destination of new text, and its ends.
pub struct Output<'a, W: Write> {
    /// Receives the text of the first row, token by token.
    pub writer: W,
    /// The tokenizer of the text, if any.
    pub tokenizer: Option<&'a TextTokenizer>,
    /// The prompt of the first row.
    pub prompt: &'a [u32],
    /// Strings that end the text, and are part of it.
    pub stop_strings: &'a [String],
    /// Tokens that end the text, and are not part of it.
    pub end_tokens: &'a [u32],
}

/// Reads the prompt, with a progress bar on a terminal if that takes long. Returns the
/// time.
///
/// # Errors
///
/// Errors of the model about the prompt.
pub fn read_prompt(generation: &mut Generation, interrupt: &Interrupt) -> Result<Duration> {
    let start = Instant::now();
    let bar = reading_bar(generation.prompt_tokens());
    bar.set_position(generation.tokens_read() as u64);
    bar.reset_eta();
    while !interrupt.pressed() && generation.read_next()? {
        bar.set_position(generation.tokens_read() as u64);
    }
    bar.finish_and_clear();
    Ok(start.elapsed())
}

/// A progress bar of tokens read, on a terminal.
pub fn reading_bar(tokens: usize) -> ProgressBar {
    let form = "reading {wide_bar} {human_pos} of {human_len} tokens, {speed}, {eta} left";
    let bar = super::bar(tokens as u64, form);
    let speed = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // A terminal that fails cannot be handled.
        let _ = write!(out, "{:.0} tokens/s", state.per_sec());
    };
    bar.set_style(bar.style().with_key("speed", speed));
    bar
}

/// Reads the prompt, then generates token by token.
///
/// # Errors
///
/// Errors of the model or the tokenizer, and of the output.
pub fn run<W: Write>(
    mut generation: Generation,
    mut output: Output<'_, W>,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let cached_tokens = generation.tokens_read();
    let prompt_time = read_prompt(&mut generation, interrupt)?.as_secs_f64();
    let tokens_read = generation.tokens_read() - cached_tokens;
    let start = Instant::now();
    let mut text = String::new();
    let mut detokenizer = output
        .tokenizer
        .map(|tokenizer| Detokenizer::new(tokenizer, output.prompt));
    let mut ended = Ended::Done;
    loop {
        if interrupt.pressed() {
            ended = Ended::Interrupted;
            break;
        }
        let Some(chosen) = generation.next_tokens()? else {
            break;
        };
        let (Some(detokenizer), Some((0, id))) = (&mut detokenizer, chosen.first()) else {
            continue;
        };
        if output.end_tokens.contains(id) {
            continue;
        }
        let from = text.len();
        text += &detokenizer.push(*id)?;
        if !show(&mut output.writer, &text[from..])? {
            ended = Ended::Closed;
            break;
        }
        if ends(&text, from, output.stop_strings) {
            ended = Ended::StopString;
            break;
        }
    }
    if let Some(detokenizer) = detokenizer {
        let from = text.len();
        text += &detokenizer.finish()?;
        show(&mut output.writer, &text[from..])?;
    }
    let new_seconds = start.elapsed().as_secs_f64();
    let prompt_tokens = generation.prompt_tokens();
    let cache_bytes = generation.cache().bytes();
    let ids = generation.into_tokens();
    let new_tokens = ids.iter().map(Vec::len).sum();
    Ok(Outcome {
        text: output.tokenizer.map(|_| text),
        ids,
        ended,
        prompt_tokens,
        cached_tokens,
        prompt_seconds: prompt_time,
        prompt_tokens_per_second: per_second(tokens_read, prompt_time),
        new_tokens,
        new_seconds,
        new_tokens_per_second: per_second(new_tokens, new_seconds),
        cache_bytes,
    })
}

/// Writes text at once; false if the output is closed.
pub fn show(writer: &mut impl Write, text: &str) -> Result<bool> {
    if text.is_empty() {
        return Ok(true);
    }
    let written = writer.write_all(text.as_bytes());
    match written.and_then(|()| writer.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("writing the text"),
    }
}

/// Whether the text that begins at `from` completes a stop string.
fn ends(text: &str, from: usize, stop_strings: &[String]) -> bool {
    stop_strings.iter().any(|stop| {
        let mut start = from.saturating_sub(stop.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        text[start..]
            .match_indices(stop.as_str())
            .any(|(at, _)| start + at + stop.len() > from)
    })
}

fn per_second(tokens: usize, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => tokens as f64 / seconds,
        false => 0.0,
    }
}

/// A number in three digits or more.
fn rounded(number: f64) -> String {
    match number {
        x if x >= 100.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        x => format!("{x:.2}"),
    }
}

/// A time in three digits or more.
pub fn seconds(seconds: f64) -> String {
    match seconds < 1.0 {
        true => format!("{} ms", rounded(1e3 * seconds)),
        false => format!("{} s", rounded(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_ends_the_text_that_completes_it() {
        let stop = ["\n\n".to_owned(), "Stop".to_owned()];
        for (text, from, expected) in [
            ("a\n\n", 2, true),
            ("a\n\n", 3, false),
            ("a\n\nb", 3, false),
            ("a\n", 1, false),
            ("the Stop.", 7, true),
            ("the Stop.", 8, false),
            ("ééééSto", 8, false),
            ("ééééStop", 10, true),
        ] {
            assert_eq!(ends(text, from, &stop), expected, "{text:?} from {from}");
        }
        assert!(!ends("text", 0, &[]));
    }

    #[test]
    fn times_and_rates_have_three_digits() {
        assert_eq!(seconds(0.001_234), "1.23 ms");
        assert_eq!(seconds(12.34), "12.3 s");
        assert_eq!(rounded(1234.5), "1234");
        assert_eq!(per_second(10, 0.0), 0.0);
    }
}
