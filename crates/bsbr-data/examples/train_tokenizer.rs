//! Trains the tokenizer of the bundled model on storybook text.
//!
//! `cargo run -p bsbr-data --example train_tokenizer -- assets/bundled 3072`

use std::error::Error;
use std::io::Write;

use bsbr_data::storybook::Storybook;
use bsbr_data::tokenizer::TextTokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| "assets/bundled".to_owned());
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
