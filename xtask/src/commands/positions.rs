//! `convert --positions`: a longer position table, and heads that work with it.

use anyhow::{Context, Result};
use bsbr_attention::HeadLevel;
use bsbr_convert::choose_far_heads;
use bsbr_data::storybook::{Split, Storybook, TrainingSpec};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use indicatif::{ProgressBar, ProgressStyle};

/// The default KL that may be lost within the trained length, in nats per position.
pub const BUDGET: f64 = 0.02;

/// Tokens per text for the choice of heads, and the number of texts.
pub const CALIBRATION: (usize, usize) = (4096, 2);

/// Words of a storybook text per token: more than there are.
const WORDS_PER_TOKEN: f64 = 0.9;

/// The default extension of a table of `trained` rows: its second half, repeated.
pub fn default_extension(trained: usize) -> PositionExtension {
    PositionExtension::RepeatLast {
        window: (trained / 2).max(1),
    }
}

/// The model with as few far heads as predictions on `batches` allow; prints the result to standard
/// output. Heads of layers without lookups are unchanged.
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

/// Storybook texts that ask for facts from far back.
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
