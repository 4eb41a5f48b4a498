//! `convert --positions`: a longer table, and heads that read by it.

use anyhow::{Context, Result};
use bsbr_attention::HeadLevel;
use bsbr_convert::choose_far_heads;
use bsbr_data::storybook::{Split, Storybook, TrainingSpec};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use indicatif::{ProgressBar, ProgressStyle};

/// KL that may be lost within the trained length, in nats per position, where nothing else is said.
pub const BUDGET: f64 = 0.02;

/// Tokens of a text that heads are chosen on, and how many texts.
pub const CALIBRATION: (usize, usize) = (4096, 2);

/// Words of a storybook text for each of its tokens: more than there are.
const WORDS_PER_TOKEN: f64 = 0.9;

/// How positions beyond a table of `trained` rows are embedded where nothing else is said: the
/// second half of the table, again and again.
pub fn default_extension(trained: usize) -> PositionExtension {
    PositionExtension::RepeatLast {
        window: (trained / 2).max(1),
    }
}

/// The model with as few heads that look far as predictions on `batches` allow, and what came of it
/// on standard output. Heads of layers that look nothing up stay as they are.
pub fn with_far_heads(model: Gpt2, batches: &[TokenBatch], budget: f64) -> Result<Gpt2> {
    let bar = ProgressBar::new(1).with_message("choosing heads that look far");
    bar.set_style(ProgressStyle::with_template(
        "{msg} {wide_bar} {pos}/{len} passes, {eta} left",
    )?);
    let (model, chosen) = choose_far_heads(model, batches, budget, |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let of_level = |level| {
        chosen
            .levels
            .iter()
            .flatten()
            .filter(move |of| **of == level)
    };
    println!(
        "{} heads look far, {} see their near field alone; KL {:.6} nats per position, {:.6} where \
         all heads look far",
        of_level(HeadLevel::Lookups).count(),
        of_level(HeadLevel::Near).count(),
        chosen.kl_after,
        chosen.kl_before,
    );
    Ok(model)
}

/// Texts of storybook that ask for what they said before.
pub fn storybook(tokenizer: &TextTokenizer, n_positions: usize) -> Result<Vec<TokenBatch>> {
    let (window, count) = CALIBRATION;
    let window = window.min(n_positions);
    let spec = TrainingSpec {
        target_words: (WORDS_PER_TOKEN * window as f64) as usize,
        ..TrainingSpec::default()
    };
    (0..count as u64)
        .map(|index| {
            let text = Storybook::new(0).training_document(Split::Train, index, &spec);
            let mut ids = tokenizer.encode_document(&text.text)?;
            ids.truncate(window);
            TokenBatch::single(&ids).context("a storybook text")
        })
        .collect()
}
