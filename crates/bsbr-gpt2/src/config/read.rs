//! Parsing of `config.json`, with errors that name the key.

use bsbr_attention::ArmConfig;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Activation, Gpt2Config};
use crate::error::ConfigError;

/// Required keys, each with the alternative name that `transformers` reads.
const REQUIRED: [(&str, Option<&str>); 5] = [
    ("vocab_size", None),
    ("n_positions", Some("max_position_embeddings")),
    ("n_embd", Some("hidden_size")),
    ("n_layer", Some("num_hidden_layers")),
    ("n_head", Some("num_attention_heads")),
];

/// The type of a key's value, and its description in errors.
enum Kind {
    Size,
    OptionalSize,
    Number,
    Flag,
    OptionalId,
    OptionalIds,
    Name,
}

const KINDS: [(&str, Kind); 21] = [
    ("vocab_size", Kind::Size),
    ("n_positions", Kind::Size),
    ("n_embd", Kind::Size),
    ("n_layer", Kind::Size),
    ("n_head", Kind::Size),
    ("n_inner", Kind::OptionalSize),
    ("resid_pdrop", Kind::Number),
    ("embd_pdrop", Kind::Number),
    ("attn_pdrop", Kind::Number),
    ("layer_norm_epsilon", Kind::Number),
    ("initializer_range", Kind::Number),
    ("scale_attn_weights", Kind::Flag),
    ("scale_attn_by_inverse_layer_idx", Kind::Flag),
    ("reorder_and_upcast_attn", Kind::Flag),
    ("tie_word_embeddings", Kind::Flag),
    ("add_cross_attention", Kind::Flag),
    ("is_encoder_decoder", Kind::Flag),
    ("bos_token_id", Kind::OptionalId),
    ("eos_token_id", Kind::OptionalIds),
    ("model_type", Kind::Name),
    ("activation_function", Kind::Name),
];

impl Kind {
    fn accepts(&self, value: &Value) -> bool {
        let id = |value: &Value| value.as_u64().is_some_and(|id| u32::try_from(id).is_ok());
        let size = |value: &Value| value.as_u64().is_some_and(|n| usize::try_from(n).is_ok());
        match self {
            Self::Size => size(value),
            Self::OptionalSize => value.is_null() || size(value),
            Self::Number => value.is_number(),
            Self::Flag => value.is_boolean(),
            Self::OptionalId => value.is_null() || id(value),
            Self::OptionalIds => {
                value.is_null()
                    || id(value)
                    || value.as_array().is_some_and(|ids| ids.iter().all(id))
            }
            Self::Name => value.is_string(),
        }
    }

    fn expected(&self) -> &'static str {
        // The number is `MAX_SIZE`; a test checks this.
        match self {
            Self::Size => "a whole number from 1 to 16777216",
            Self::OptionalSize => "a whole number from 1 to 16777216, or null",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::OptionalId => "one token id, or null",
            Self::OptionalIds => "one token id, a list of them, or null",
            Self::Name => "a string",
        }
    }
}

impl Gpt2Config {
    /// Reads and checks the text of a `config.json`.
    ///
    /// Missing optional keys have the default of `transformers`. `bos_token_id` and
    /// `eos_token_id` are absent if that default is not in the vocabulary.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, the expected and the found value.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_str(text).map_err(json_error)?;
        let Value::Object(mut keys) = value else {
            return Err(ConfigError::Json {
                message: "expected an object, `{ … }`".into(),
            });
        };
        for (key, alias) in REQUIRED {
            if keys.contains_key(key) {
                continue;
            }
            match alias.and_then(|alias| keys.get(alias)).cloned() {
                Some(value) => keys.insert(key.into(), value),
                None => return Err(ConfigError::MissingKey { key }),
            };
        }
        for (key, kind) in KINDS {
            if let Some(value) = keys.get(key)
                && !kind.accepts(value)
            {
                return Err(ConfigError::Unsupported {
                    key,
                    found: value.to_string(),
                    expected: kind.expected(),
                });
            }
        }
        check_activation(&keys)?;
        check_bsbr(&keys)?;
        let given = ["bos_token_id", "eos_token_id"].map(|key| keys.contains_key(key));
        let mut config: Self = serde_json::from_value(Value::Object(keys)).map_err(json_error)?;
        let [bos_given, eos_given] = given;
        let vocab_size = config.vocab_size;
        let in_vocabulary = |id: &u32| (*id as usize) < vocab_size;
        config.bos_token_id = config
            .bos_token_id
            .filter(|id| bos_given || in_vocabulary(id));
        config.eos_token_id = config
            .eos_token_id
            .filter(|ids| eos_given || ids.as_slice().iter().all(in_vocabulary));
        config.validate()?;
        Ok(config)
    }
}

fn json_error(error: serde_json::Error) -> ConfigError {
    ConfigError::Json {
        message: error.to_string(),
    }
}

fn check_activation(keys: &Map<String, Value>) -> Result<(), ConfigError> {
    match keys.get("activation_function") {
        Some(name) if Activation::deserialize(name).is_err() => Err(ConfigError::Unsupported {
            key: "activation_function",
            found: name.to_string(),
            expected: "gelu_new, gelu_pytorch_tanh, gelu, relu, silu, swish or tanh",
        }),
        _ => Ok(()),
    }
}

/// Checks the parts of the `bsbr` object separately, so that an error says where it is.
fn check_bsbr(keys: &Map<String, Value>) -> Result<(), ConfigError> {
    let bsbr = match keys.get("bsbr") {
        None | Some(Value::Null) => return Ok(()),
        Some(bsbr) => bsbr,
    };
    let wrong = |at: String, message: String| ConfigError::Json {
        message: format!("`{at}`: {message}"),
    };
    let layers = bsbr.get("layers").and_then(Value::as_array);
    for (layer, arm) in layers.into_iter().flatten().enumerate() {
        let at = || format!("bsbr.layers[{layer}]");
        if let Err(error) = ArmConfig::deserialize(arm) {
            return Err(wrong(at(), error.to_string()));
        }
    }
    match super::BsbrConfig::deserialize(bsbr) {
        Ok(_) => Ok(()),
        Err(error) => Err(wrong("bsbr".into(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_in_the_message_is_the_bound() {
        assert!(
            Kind::Size
                .expected()
                .ends_with(&super::super::MAX_SIZE.to_string())
        );
    }
}
