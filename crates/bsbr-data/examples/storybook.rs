//! Shows a document of each kind, and how fast training windows are made.
//!
//! `cargo run -p bsbr-data --example storybook -- 7 assets/bundled`

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use bsbr_data::storybook::{Domain, QaSpec, Split, Storybook, TrainingSpec, tokens_between};
use bsbr_data::stream::{StreamConfig, TrainingStream};
use bsbr_data::tokenizer::TextTokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seed: u64 = args.next().map_or(Ok(7), |text| text.parse())?;
    let folder = args.next().unwrap_or_else(|| "assets/bundled".to_owned());
    let tokenizer = TextTokenizer::from_folder(folder)?;
    let book = Storybook::new(seed);
    let out = &mut std::io::stdout();

    for domain in Domain::ALL {
        let document = book.plain(Split::Validation, domain, 0, 120);
        writeln!(out, "--- plain, {domain:?}\n{}", document.text)?;
    }
    let article = book.article(Split::Validation, 0);
    writeln!(out, "--- article\n{}", article.training_text())?;
    let spec = TrainingSpec {
        target_words: 200,
        people: (4, 8),
        ..TrainingSpec::default()
    };
    let document = book.training_document(Split::Validation, 0, &spec);
    writeln!(out, "--- training document\n{}", document.text)?;
    let item = book.qa(Split::Validation, 0, &QaSpec::default());
    let between = tokens_between(&tokenizer, &item)?;
    writeln!(
        out,
        "--- question, {between} tokens after the fact{}\n{} of {:?}\n",
        item.prompt, item.answer, item.candidates
    )?;

    writeln!(out, "window  tokens/s  answers")?;
    for window in [256, 1024, 4096] {
        let stream =
            TrainingStream::new(tokenizer.clone(), StreamConfig::for_window(seed, window))?;
        stream.window(0, 0)?;
        let (start, rows) = (Instant::now(), 2_000_000 / window);
        let mut answers = 0;
        for row in 0..rows {
            let weights = stream.window(1, row as u64)?.weights;
            answers += weights.iter().filter(|weight| **weight > 1.0).count();
        }
        let tokens = (rows * window) as f64;
        let rate = tokens / start.elapsed().as_secs_f64();
        let share = 100.0 * answers as f64 / tokens;
        writeln!(out, "{window:6}  {rate:8.0}  {share:.2} %")?;
    }
    Ok(())
}
