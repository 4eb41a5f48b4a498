//! Opening of model folders and their tokenizers.

use std::path::Path;

use anyhow::{Context, Result};
use bsbr_convert::{FloatType, LoadOptions, LoadedModel, load_model};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::Gpt2Config;
use burn::tensor::Device;

/// Loads the model in `folder`, and prints ignored parts to standard error.
///
/// If `dtype` is `None`, weights stored in half precision keep that type on Flex.
///
/// # Errors
///
/// Names the invalid file or tensor.
pub fn open(
    folder: &Path,
    device: &Device,
    dtype: Option<FloatType>,
    allow_non_finite: bool,
) -> Result<LoadedModel> {
    let options = LoadOptions {
        dtype,
        allow_non_finite,
        ..LoadOptions::on(device)
    };
    let loaded =
        load_model(folder, &options).with_context(|| format!("loading {}", folder.display()))?;
    if !loaded.report.unexpected.is_empty() {
        let names = loaded.report.unexpected.join(", ");
        eprintln!("ignored, not part of a GPT-2: {names}");
    }
    for name in &loaded.report.too_large {
        eprintln!("warning: tensor `{name}` holds numbers whose squares are infinite");
    }
    for name in &loaded.report.non_finite {
        eprintln!("warning: tensor `{name}` holds non-finite numbers");
    }
    Ok(loaded)
}

/// The tokenizer in `folder`, for the model loaded from there.
///
/// # Errors
///
/// Names the invalid file, or the token without an embedding in the model.
pub fn tokenizer(folder: &Path, config: &Gpt2Config) -> Result<TextTokenizer> {
    let tokenizer = TextTokenizer::from_folder(folder)?;
    tokenizer
        .fits(config.vocab_size)
        .with_context(|| folder.display().to_string())?;
    Ok(tokenizer.or_end_of_text(config.end_of_text()))
}
