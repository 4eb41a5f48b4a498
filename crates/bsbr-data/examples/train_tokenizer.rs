//! Trains a tokenizer on storybook text. That of the bundled model was trained in the same way on
//! an earlier storybook.
//!
//! `cargo run -p bsbr-data --example train_tokenizer -- results/tokenizer 3072`
//!
//! It does not replace the bundled one, whose ids the bundled model was trained with.

use std::error::Error;
use std::io::Write;

use bsbr_data::storybook::Storybook;
use bsbr_data::tokenizer::TextTokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args
        .next()
        .unwrap_or_else(|| "results/tokenizer".to_owned());
    let vocab: usize = args.next().map_or(Ok(3072), |text| text.parse())?;
    let tokenizer = TextTokenizer::train_bpe(Storybook::new(0).tokenizer_texts(), vocab)?;
    tokenizer.save(&folder)?;
    let mut out = std::io::stdout();
    let split: Vec<&str> = Storybook::fact_words()
        .into_iter()
        .filter(|word| {
            tokenizer
                .encode(&format!(" {word}"))
                .map_or(true, |ids| ids.len() != 1)
        })
        .collect();
    writeln!(
        out,
        "{folder}/tokenizer.json: {} ids; {} fact words of more than one token {split:?}",
        tokenizer.vocab_size(),
        split.len()
    )?;
    Ok(())
}
