//! Consistency of settings, data and models.

use bsbr_convert::uncalibrated_layers;
use bsbr_gpt2::{Gpt2, Gpt2Config};

use crate::error::TrainError;
use crate::finetune::config::{FinetuneConfig, Trainable};
use crate::finetune::data::Dataset;

/// Refuses invalid combinations before anything is computed.
///
/// # Errors
///
/// [`TrainError::Config`] names what does not fit, and says what to do.
pub(crate) fn check(
    config: &FinetuneConfig,
    model: &Gpt2,
    original: Option<&Gpt2>,
    data: &Dataset,
) -> Result<(), TrainError> {
    let wrong = |setting: &str, message: String| Err(TrainError::config(setting, message));
    let sizes = &model.config();
    let positions = sizes.n_positions;
    if data.window_size() > positions {
        return wrong(
            "window",
            format!(
                "{} tokens, expected at most n_positions = {positions}",
                data.window_size()
            ),
        );
    }
    if data.highest() as usize >= sizes.vocab_size {
        return wrong(
            "data",
            format!(
                "a token has the id {}, but the model's embedding has {} rows; the texts contain a \
                 special token that the model was not trained with: remove it from them",
                data.highest(),
                sizes.vocab_size
            ),
        );
    }
    if let Trainable::Lora { rank, .. } = config.train
        && rank > sizes.n_embd
    {
        return wrong(
            "lora",
            format!(
                "a rank of {rank}, expected at most n_embd = {}",
                sizes.n_embd
            ),
        );
    }
    let unset = uncalibrated_layers(model);
    if !unset.is_empty() {
        return wrong(
            "model",
            format!(
                "layers {unset:?} compress their states in bases that were never set; calibrate \
                 the model first with `bsbr_convert::calibrate`"
            ),
        );
    }
    if !config.needs_original() {
        return Ok(());
    }
    match original {
        Some(original) => {
            // A run with gaps in its windows may learn from the model that it was extended from,
            // which then reads windows without gaps.
            let needed = match config.position_chunks {
                0 | 1 => usize::MAX,
                _ => data.window_size(),
            };
            same_sizes(&original.config(), sizes, needed)
        }
        None => wrong("objective", "there is no original to learn from".into()),
    }
}

/// Checks that a model can learn from an original: they must have equal numbers of layers, inputs
/// and outputs of equal size, and equal outputs for the first `positions` positions.
fn same_sizes(
    original: &Gpt2Config,
    model: &Gpt2Config,
    positions: usize,
) -> Result<(), TrainError> {
    let sizes = |config: &Gpt2Config| {
        [
            ("n_layer", config.n_layer),
            ("n_embd", config.n_embd),
            ("vocab_size", config.vocab_size),
            ("n_positions", config.n_positions.min(positions)),
        ]
    };
    let mut pairs = sizes(original).into_iter().zip(sizes(model));
    match pairs.find(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(((name, found), (_, expected))) => Err(TrainError::config(
            format!("original.{name}"),
            format!(
                "the original has {found}, the model {expected}; give the model that was converted"
            ),
        )),
    }
}
