//! Linear layers stored in 8 bits.
//!
//! The format is specific to this project: a file `model-int8.safetensors` instead of
//! `model.safetensors`, and `"bsbr_weights": "int8"` in `config.json`. All tensors have Hugging
//! Face's names and types, except the matrices of linear layers: `h.N.attn.c_attn.weight` is
//! replaced by `h.N.attn.c_attn.weight_int8`, `[in, out]` of type I8 from -127 to 127, and
//! `h.N.attn.c_attn.weight_scale`, `[out]` of type F32. A weight is the product of the two.
//! Programs that do not know the format find no weights instead of wrong ones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bsbr_gpt2::{Gpt2Config, Int8Weight, LINEAR_LAYERS};
use safetensors::Dtype;
use serde_json::Value;

use crate::checkpoint::StoredTensor;
use crate::error::LoadError;
use crate::folder::{ModelFolder, WeightFiles};
use crate::keys::{Weights, in_block};

/// The key of `config.json` for the format.
pub(crate) const KEY: &str = "bsbr_weights";
/// Its value.
pub(crate) const INT8: &str = "int8";
/// The suffix of a layer's weight.
pub(crate) const NUMBERS: &str = "_int8";
/// The suffix of a layer's scales, instead of `weight`.
pub(crate) const SCALE: &str = "weight_scale";

/// Weights by the names of their layers, without the prefix.
pub(crate) type Int8Weights = HashMap<String, Arc<Int8Weight>>;

/// The names of a layer's 8-bit values and scales.
pub(crate) fn names(layer: &str) -> [String; 2] {
    [
        format!("{layer}.weight{NUMBERS}"),
        format!("{layer}.{SCALE}"),
    ]
}

/// The layer of a weight name, if it can be stored in 8 bits.
pub(crate) fn layer_of(weight: &str) -> Option<&str> {
    let layer = weight.strip_suffix(".weight")?;
    in_block(layer).filter(|linear| LINEAR_LAYERS.contains(linear))?;
    Some(layer)
}

/// Whether the folder's weights are in 8 bits, by its files and its configuration, which must
/// agree.
///
/// # Errors
///
/// [`LoadError::WeightForm`] if they do not.
pub(crate) fn is_form_of(folder: &ModelFolder, config: &Gpt2Config) -> Result<bool, LoadError> {
    let is_file = matches!(folder.weights(), WeightFiles::Int8(_));
    let said = config.other.get(KEY);
    match (said, is_file) {
        (None, false) => Ok(false),
        (Some(Value::String(said)), true) if said == INT8 => Ok(true),
        _ => Err(LoadError::WeightForm {
            folder: folder.root().to_owned(),
            key: KEY,
            said: said.map_or_else(|| "nothing".to_owned(), Value::to_string),
            file: match is_file {
                true => "model-int8.safetensors",
                false => "weights of another type",
            },
        }),
    }
}

/// The weight of a layer. `[in, out]`
///
/// # Errors
///
/// [`LoadError`] names a tensor of another type or with invalid values. Names and shapes have been
/// compared before.
pub(crate) fn read(
    weights: &Weights<'_>,
    layer: &str,
    in_place: bool,
) -> Result<Int8Weight, LoadError> {
    let [numbers, steps] = names(layer);
    let [numbers, steps] = [&numbers, &steps].map(|name| weights.get(name));
    let (Some(numbers), Some(steps)) = (numbers, steps) else {
        return Err(LoadError::tensor(
            Path::new("model-int8.safetensors"),
            layer,
            "has no weight in 8 bits",
        ));
    };
    typed(numbers, Dtype::I8)?;
    typed(steps, Dtype::F32)?;
    let wrong = |tensor: StoredTensor<'_>, message: String| {
        Err(LoadError::tensor(tensor.file(), tensor.name(), message))
    };
    let found = steps.to_f32()?;
    if let Some(step) = found
        .iter()
        .find(|step| !(step.is_finite() && **step >= 0.0))
    {
        return wrong(steps, format!("holds {step}, expected steps from 0 on"));
    }
    let data = numbers.to_int8(in_place)?;
    if data.as_bytes().contains(&(i8::MIN as u8)) {
        return wrong(numbers, "holds -128, expected -127 to 127".to_owned());
    }
    Ok(Int8Weight {
        weights: data,
        steps: found,
    })
}

fn typed(tensor: StoredTensor<'_>, expected: Dtype) -> Result<(), LoadError> {
    match tensor.dtype() {
        found if found == expected => Ok(()),
        found => Err(LoadError::tensor(
            tensor.file(),
            tensor.name(),
            format!("is {found}, expected {expected}"),
        )),
    }
}
