//! Opening a model folder, and the tokenizer in it, as the commands do.

use std::path::Path;

use anyhow::{Context, Result};
use bsbr_convert::{FloatType, LoadOptions, LoadedModel, load_model};
use bsbr_data::tokenizer::TextTokenizer;
use burn::tensor::Device;

/// Loads the model in `folder`, saying on standard error what was left out of it.
///
/// Where `dtype` is `None`, weights that are stored in half precision stay so on Flex.
///
/// # Errors
///
/// Names the file or the tensor that is wrong.
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
    for name in &loaded.report.unexpected {
        eprintln!("left out: tensor `{name}`, which a GPT-2 does not have");
    }
    for name in &loaded.report.non_finite {
        eprintln!("warning: tensor `{name}` holds numbers that are not finite");
    }
    Ok(loaded)
}

/// The tokenizer in `folder`, for the model with an embedding of `rows` rows that was loaded from
/// there.
///
/// # Errors
///
/// Names the file that is wrong, or says that the tokenizer has more tokens than rows.
pub fn tokenizer(folder: &Path, rows: usize) -> Result<TextTokenizer> {
    let tokenizer = TextTokenizer::from_folder(folder)?;
    tokenizer
        .fits(rows)
        .with_context(|| folder.display().to_string())?;
    Ok(tokenizer)
}
