//! More positions than a model was trained with: a longer position table, and heads that work with it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use bsbr_attention::HeadLevel;
use bsbr_convert::{LEAST_GAIN, LONG_TEXTS, LongText, choose_far_heads, has_far_heads};
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_train::questions::long_texts;

use super::convert::tokens;
use super::model;

/// A longer position table, and the choice of its heads.
pub struct Longer<'a> {
    /// Rows of the table.
    pub positions: usize,
    /// The method for rows beyond the trained ones.
    pub extension: Option<PositionExtension>,
    /// The decrease of the loss, in nats, that a far head must achieve.
    pub least: Option<f64>,
    /// Files of texts for the choice of heads; empty for storybook.
    pub texts: &'a [PathBuf],
}

/// The model loaded from `folder`, with a longer table, and in the moments arm with few far heads.
/// Prints the result to standard output.
pub fn extended(model: Gpt2, folder: &Path, longer: &Longer<'_>) -> Result<Gpt2> {
    let trained = model.config().n_positions;
    let extension = longer.extension;
    let extension = extension.unwrap_or_else(|| PositionExtension::repeat_half(trained));
    let model = model.extended(longer.positions, extension)?;
    if !has_far_heads(&model) {
        return Ok(model);
    }
    let tokenizer = model::tokenizer(folder, &model.config())?;
    let len = LongText::length(longer.positions, trained);
    let texts = match longer.texts {
        [] => long_texts(&tokenizer, len, LONG_TEXTS as u64)?,
        files => {
            let ids = tokens(files, &tokenizer, len * LONG_TEXTS)?;
            let texts = ids.chunks(len).map(<[u32]>::to_vec);
            texts.map(LongText::of_copies).collect()
        }
    };
    ensure!(
        texts.iter().any(|text| text.ids.len() > trained + 1),
        "the texts for choosing heads have no token beyond the {trained} trained positions; give \
         --calibrate FILE with longer texts"
    );
    with_far_heads(model, &texts, trained, longer.least.unwrap_or(LEAST_GAIN))
}

/// The model with far heads that lower the loss beyond `trained` positions.
fn with_far_heads(model: Gpt2, texts: &[LongText], trained: usize, least: f64) -> Result<Gpt2> {
    let passes = super::passes("choosing heads that look far");
    let (model, chosen) = choose_far_heads(model, texts, trained, least, passes)?;
    let far: Vec<String> = (0..)
        .zip(&chosen.levels)
        .flat_map(|(layer, heads)| {
            let far = (0..)
                .zip(heads)
                .filter(|(_, of)| **of == HeadLevel::Lookups);
            far.map(move |(head, _)| format!("{layer}.{head}"))
        })
        .collect();
    println!(
        "{} of {} heads look far (layer.head: {}). Nats beyond {trained} tokens, per token and per \
         token that far text determines:",
        far.len(),
        chosen.levels.iter().flatten().count(),
        far.join(" "),
    );
    for (what, loss) in [
        ("no head looks far", chosen.near),
        ("all heads look far", chosen.far),
        ("as chosen", chosen.chosen),
    ] {
        println!("  {what}: {:.3} and {:.3}", loss.all, loss.far);
    }
    Ok(model)
}
