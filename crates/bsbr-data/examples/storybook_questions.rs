//! Questions about storybook documents as JSON lines, for `assets/lm-eval/storybook_questions.yaml`.
//!
//! `cargo run -p bsbr-data --example storybook_questions -- COUNT WORDS > storybook_questions.jsonl`
//! asks COUNT questions, each at least WORDS words after its answer.

use std::error::Error;
use std::io::Write;

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().map_or(Ok(40), |text| text.parse())?;
    let words: usize = args.next().map_or(Ok(400), |text| text.parse())?;
    let spec = QaSpec {
        min_distance_words: words,
        ..QaSpec::default()
    };
    let book = Storybook::new(0);
    let out = &mut std::io::stdout().lock();
    for index in 0..count {
        let item = book.qa(Split::Test, index, &spec);
        let answer = item.candidates.iter().position(|one| *one == item.answer);
        let line = json!({
            "prompt": item.context + &item.prompt,
            "choices": item.candidates,
            "answer": answer.ok_or("the answer is no candidate")?,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
