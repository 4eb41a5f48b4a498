//! How well a model reads beyond the positions that it was trained with: by the form of the longer
//! table, and by which heads look far.
//!
//! ```sh
//! cargo run -p xtask -p bsbr-train --example extension -- \
//!     assets/bundled 8 dense moments moments:far=0.01 repeat:window=2048 hierarchical
//! ```
//!
//! The arguments are a folder, the number of questions per distance, then arms and forms of the table in
//! any order. Every arm is measured with every form. With `:far=NATS` after an arm, only heads that lower
//! the loss beyond the table by that much look far. The arm `kept` is the folder's own; with it and no form,
//! the model is measured as it is, for example after training for long texts. A line of the output is one
//! pair: perplexity by position, and the number of questions answered at each distance.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use bsbr_convert::{
    ConversionPlan, LONG_TEXTS, LoadOptions, LongText, choose_far_heads, convert, load_model,
};
use bsbr_data::storybook::{Domain, QaSpec, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use bsbr_train::evaluate::nll;
use bsbr_train::questions::{Question, long_texts};
use burn::tensor::Device;

/// Rows of the longer table, as often as the trained one has them.
const TIMES: usize = 4;
/// Words between a fact and its question.
const DISTANCES: [usize; 3] = [1700, 3300, 6500];
/// Words of a text that perplexity is measured on, and how many texts.
const TEXTS: (usize, u64) = (9000, 3);
/// Where bands of positions begin.
const BANDS: [usize; 5] = [0, 3072, 4096, 6144, 8192];
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("give the folder of a model")?;
    let count: u64 = args.next().ok_or("give a number of questions")?.parse()?;
    let (mut forms, mut arms) = (Vec::new(), Vec::new());
    for arg in args {
        match arg.parse::<PositionExtension>() {
            Ok(form) => forms.push(form),
            Err(_) => arms.push(arg),
        }
    }
    if forms.is_empty() {
        forms.push(PositionExtension::None);
    }
    let tokenizer = TextTokenizer::from_folder(Path::new(&folder))?;
    let model = load_model(&folder, &LoadOptions::on(&Device::default()))?.model;
    let trained = model.config().n_positions;
    let book = Storybook::new(0);
    let texts = (0..TEXTS.1)
        .map(|index| {
            let domain = Domain::ALL[index as usize % Domain::ALL.len()];
            let text = book.plain(Split::Validation, domain, index, TEXTS.0).text;
            Ok(tokenizer.encode_document(&text)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let questions = DISTANCES
        .iter()
        .map(|&min_distance_words| {
            let spec = QaSpec {
                min_distance_words,
                ..QaSpec::default()
            };
            (0..count)
                .map(|index| {
                    let item = book.qa(Split::Validation, index, &spec);
                    Ok(Question::new(&tokenizer, &item)?)
                })
                .collect::<Result<Vec<_>>>()
        })
        .collect::<Result<Vec<_>>>()?;
    for of_distance in &questions {
        let tokens: usize = of_distance.iter().map(|question| question.distance).sum();
        println!("distance: {} tokens", tokens / of_distance.len().max(1));
    }
    for arm in &arms {
        for form in &forms {
            let extended = match form {
                PositionExtension::None => model.clone(),
                form => model.clone().extended(TIMES * trained, *form)?,
            };
            let extended = with_arm(extended, arm, &tokenizer, trained)?;
            let mut line = format!("{arm}, {form}: perplexity");
            for (from, perplexity) in perplexities(&extended, &texts)? {
                line += &format!(" from {from}: {perplexity:.3}");
            }
            line += "; right";
            for of_distance in &questions {
                let mut right = 0;
                for question in of_distance {
                    right += u64::from(question.answer(&extended)?.among);
                }
                line += &format!(" {right}");
            }
            println!("{line} of {count}");
        }
    }
    Ok(())
}

/// The model with an arm, and few heads that look far where the text asks for it.
fn with_arm(model: Gpt2, text: &str, tokenizer: &TextTokenizer, trained: usize) -> Result<Gpt2> {
    let (arm, least) = match text.split_once(":far=") {
        None => (text, None),
        Some((arm, least)) => (arm, Some(least.parse::<f64>()?)),
    };
    if arm == "kept" {
        return Ok(model);
    }
    let model = convert(model, &ConversionPlan::parse(arm, None)?)?;
    let Some(least) = least else {
        return Ok(model);
    };
    let len = LongText::length(model.config().n_positions, trained);
    let texts = long_texts(tokenizer, len, LONG_TEXTS as u64)?;
    let (model, chosen) = choose_far_heads(model, &texts, trained, least, |_, _| {})?;
    println!("{text}: {chosen:?}");
    Ok(model)
}

/// The position that each band begins at, and the perplexity in it.
fn perplexities(model: &Gpt2, texts: &[Vec<u32>]) -> Result<Vec<(usize, f64)>> {
    let mut sums = [(0.0, 0usize); BANDS.len()];
    for ids in texts {
        let hidden = model.hidden_states(&TokenBatch::single(ids)?)?;
        for (band, sum) in sums.iter_mut().enumerate() {
            let end = BANDS.get(band + 1).copied().unwrap_or(usize::MAX);
            let scored = BANDS[band].max(1)..end.min(ids.len());
            let nats = nll(model, hidden.clone(), ids, scored.clone());
            *sum = (sum.0 + nats, sum.1 + scored.len());
        }
    }
    let mean = |(sum, count): (f64, usize)| (sum / count as f64).exp();
    Ok(BANDS.into_iter().zip(sums.map(mean)).collect())
}
