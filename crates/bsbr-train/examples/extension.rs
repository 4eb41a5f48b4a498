//! How well a model reads beyond its table of positions, untrained: by the form of the longer table,
//! and by which heads look far.
//!
//! ```sh
//! cargo run -p xtask -p bsbr-train --example extension -- \
//!     assets/bundled 8 dense moments moments:far=0.02 repeat:window=2048 hierarchical
//! ```
//!
//! The arguments are a folder, questions of each distance, then arms and forms of the table in any
//! order: every arm is tried with every form. `:far=NATS` behind an arm lets as few heads look far as
//! this budget allows. Each line of the output is one pair: perplexity by position, and questions that
//! were answered at each distance.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use bsbr_convert::{ConversionPlan, LoadOptions, choose_far_heads, convert, load_model};
use bsbr_data::storybook::{Domain, QaSpec, Split, Storybook, TrainingSpec};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, PREFILL_CHUNK_SIZE, PositionExtension, TokenBatch};
use bsbr_train::questions::Question;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Rows of the longer table, as often as the trained one has them.
const TIMES: usize = 4;
/// Words between a fact and its question.
const DISTANCES: [usize; 3] = [1700, 3300, 6500];
/// Words of a text that perplexity is measured on, and how many texts.
const TEXTS: (usize, u64) = (9000, 3);
/// Where bands of positions begin, in quarters of the trained length.
const BANDS: [usize; 5] = [0, 3, 4, 6, 8];
/// Words of a text that heads are chosen on, how many texts, and their tokens.
const CHOICE: (usize, u64, usize) = (3700, 2, 4096);

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
        let model = with_arm(&model, arm, &tokenizer, &book)?;
        for form in &forms {
            let extended = model.clone().extended(TIMES * trained, *form)?;
            let mut line = format!("{arm}, {form}: perplexity");
            for (from, perplexity) in perplexities(&extended, &texts, trained)? {
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
fn with_arm(model: &Gpt2, text: &str, tokenizer: &TextTokenizer, book: &Storybook) -> Result<Gpt2> {
    let (arm, budget) = match text.split_once(":far=") {
        None => (text, None),
        Some((arm, budget)) => (arm, Some(budget.parse::<f64>()?)),
    };
    let model = convert(model.clone(), &ConversionPlan::parse(arm, None)?)?;
    let Some(budget) = budget else {
        return Ok(model);
    };
    let (target_words, count, tokens) = CHOICE;
    let spec = TrainingSpec {
        target_words,
        ..TrainingSpec::default()
    };
    let batches = (0..count)
        .map(|index| {
            let text = book.training_document(Split::Train, index, &spec).text;
            let mut ids = tokenizer.encode_document(&text)?;
            ids.truncate(tokens.min(model.config().n_positions));
            Ok(TokenBatch::single(&ids)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let (model, chosen) = choose_far_heads(model, &batches, budget, |_, _| {})?;
    println!("{text}: {:?}", chosen.levels);
    println!("KL {:.5}, {:.5} before", chosen.kl_after, chosen.kl_before);
    Ok(model)
}

/// The position that each band begins at, and the perplexity in it.
fn perplexities(model: &Gpt2, texts: &[Vec<u32>], trained: usize) -> Result<Vec<(usize, f64)>> {
    let bands = BANDS.map(|quarters| quarters * trained / 4);
    let mut sums = [(0.0, 0usize); BANDS.len()];
    for ids in texts {
        let mut cache = model.new_cache();
        for start in (0..ids.len() - 1).step_by(PREFILL_CHUNK_SIZE) {
            let end = (start + PREFILL_CHUNK_SIZE).min(ids.len() - 1);
            let batch = TokenBatch::single(&ids[start..end])?;
            let hidden = model.forward_cached(&batch, &mut cache)?;
            let next: Vec<i32> = ids[start + 1..=end].iter().map(|&id| id as i32).collect();
            let next = TensorData::new(next, [1, end - start, 1]);
            let next: Tensor<3, Int> = Tensor::from_data(next, &model.device());
            let of_next = log_softmax(model.logits(hidden), 2).gather(2, next);
            for (position, log) in (start..).zip(of_next.into_data().iter::<f64>()) {
                let band = bands.iter().rposition(|first| *first <= position);
                let sum = &mut sums[band.unwrap_or(0)];
                *sum = (sum.0 - log, sum.1 + 1);
            }
        }
    }
    let mean = |(sum, count): (f64, usize)| (sum / count as f64).exp();
    Ok(bands.into_iter().zip(sums.map(mean)).collect())
}
