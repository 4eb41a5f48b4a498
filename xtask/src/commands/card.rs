//! The card of a model written by a command.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bsbr_convert::{ArmConfig, ModelCard};
use bsbr_gpt2::Gpt2Config;
use bsbr_report::corpus::model_files;
use bsbr_report::spec::{Overrides, read_specs};
use bsbr_report::validation::Side;
use bsbr_report::{card, hash, validation};
use bsbr_train::finetune::History;

use super::hub::Found;
use crate::assets;

/// The language of storybook, which the bundled model was trained on.
const STORYBOOK: &str = "en";

/// A card for a model in `out`, made from `found`.
pub fn card(out: &Path, model: &Path, found: &Found) -> ModelCard {
    let base = found.base.clone();
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    ModelCard {
        title: name.into_owned(),
        base: base.map(|(name, commit)| (name, Some(commit))),
        language: (model == assets::bundled()).then(|| STORYBOOK.to_owned()),
        ..ModelCard::default()
    }
}

/// The results in `results` for the arm of a converted model and its original in `folder`.
///
/// # Errors
///
/// If the layers' arms differ, which no experiment measures, no record belongs to this model and
/// arm, or a specification cannot be read.
pub fn measured(results: &Path, folder: &Path, config: &Gpt2Config) -> Result<String> {
    let arms: Vec<ArmConfig> = (0..config.n_layer).map(|layer| config.arm(layer)).collect();
    let Some(arm) = arms
        .first()
        .filter(|arm| arms.iter().all(|one| one == *arm))
    else {
        bail!("--results: the layers have several arms, and experiments measure one at a time");
    };
    let hash = hash::of_files(&model_files(folder)?)?;
    let specs = read_specs(&assets::path("experiments"), &Overrides::default())?;
    card::measured(results, &specs, &hash, arm).context("--results")
}

/// The validation results of a training, and the models side by side.
pub fn training(history: &History, sides: &[Side], data: &str, objective: &str) -> String {
    let beside = match sides.is_empty() {
        true => String::new(),
        false => format!("{}\n", validation::markdown(sides)),
    };
    let mut out = format!(
        "## Training\n\nTrained on {data}; objective: {objective}.\n\n{beside}On all held-out \
         windows:\n\n| steps | loss, nats per token | perplexity |\n|---:|---:|---:|\n"
    );
    for one in &history.validations {
        let line = format!(
            "| {} | {:.4} | {:.3} |\n",
            one.step, one.loss, one.perplexity
        );
        out.push_str(&line);
    }
    out.push_str("\nAll settings and curves: `finetuning.json`, `finetuning.svg`.\n");
    out
}
