//! The trained parameters of a model.

use bsbr_gpt2::Gpt2;
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use burn::module::{Lora, Module, ParamGroup};
use burn::tensor::TensorData;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::finetune::config::Trainable;

/// The projections with adapters.
const ADAPTED: [&str; 4] = [
    ".attn.c_attn.weight",
    ".attn.c_proj.weight",
    ".mlp.c_fc.weight",
    ".mlp.c_proj.weight",
];

/// The model with all other parameters frozen, and adapters if requested.
pub(crate) fn select(model: Gpt2, train: Trainable, seed: u64) -> Result<Gpt2, TrainError> {
    let mut names = Vec::new();
    visit_tensors(&model, |name, _| names.push(name.to_owned()));
    let chosen = |keep: fn(&str) -> bool| -> Vec<String> {
        names.iter().filter(|name| keep(name)).cloned().collect()
    };
    let names = match train {
        Trainable::All => chosen(|_| true),
        Trainable::Attention => chosen(|name| name.contains(".attn.")),
        Trainable::Retrieval => chosen(|name| name.contains(".attn.bsbr.")),
        Trainable::Lora { rank, alpha } => {
            let adapted = chosen(|name| ADAPTED.iter().any(|part| name.ends_with(part)));
            let lora = Lora::new(rank, alpha).set_param_group(ParamGroup::from_paths(adapted));
            return Ok(seed_adapters(model.apply_lora(lora), seed));
        }
    };
    if names.is_empty() {
        return Err(TrainError::config(
            "train",
            "the arm has no parameters of its own: `retrieval` needs the moments or the published \
             arm; train the attention instead",
        ));
    }
    Ok(model.freeze().unfreeze_group(ParamGroup::from_paths(names)))
}

/// Draws the first factor of each adapter from the seed, because Burn's own random numbers are not
/// reproducible. The second is zero, so the model is initially unchanged.
fn seed_adapters(model: Gpt2, seed: u64) -> Gpt2 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    replace_tensors(model, |name, shape| {
        name.ends_with(".lora.a").then(|| {
            let bound = 1.0 / (shape[0] as f32).sqrt();
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count)
                .map(|_| rng.random_range(-bound..bound))
                .collect();
            TensorData::new(values, shape.to_vec())
        })
    })
}
