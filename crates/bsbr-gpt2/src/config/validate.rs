//! The bounds of every value, and consistency between values.

use serde_json::Value;

use super::{BSBR_GPT2, GPT2, Gpt2Config};
use crate::error::ConfigError;

/// The largest accepted value of any size; a larger one is a mistake or an attack.
pub(crate) const MAX_SIZE: usize = 1 << 24;
/// The largest accepted number of blocks: they are listed in memory before their weights.
const MAX_LAYERS: usize = 1 << 12;
/// The largest accepted number of parameters.
const MAX_PARAMETERS: u128 = 1 << 36;

impl Gpt2Config {
    /// Checks every value against its bounds and against the others.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first key that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if ![GPT2, BSBR_GPT2].contains(&self.model_type.as_str()) {
            return Err(ConfigError::Unsupported {
                key: "model_type",
                found: self.model_type.clone(),
                expected: "gpt2 or bsbr_gpt2",
            });
        }
        if self.model_type == BSBR_GPT2 && self.bsbr.is_none() {
            return Err(ConfigError::Contradiction {
                message: format!(
                    "`model_type` is {BSBR_GPT2}, but there is no `bsbr` object, which names the \
                     arms; use `{GPT2}` for the original attention"
                ),
            });
        }
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.inner_size()),
        ];
        for (key, found) in sizes {
            let max = if key == "n_layer" {
                MAX_LAYERS
            } else {
                MAX_SIZE
            };
            if !(1..=max).contains(&found) {
                return Err(ConfigError::OutOfBounds { key, found, max });
            }
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(ConfigError::Contradiction {
                message: format!(
                    "`n_embd` {} is not a multiple of `n_head` {}, but heads must share it evenly",
                    self.n_embd, self.n_head
                ),
            });
        }
        if self.parameters() > MAX_PARAMETERS {
            return Err(ConfigError::Contradiction {
                message: format!(
                    "the sizes give {} parameters, but at most {MAX_PARAMETERS} are accepted",
                    self.parameters()
                ),
            });
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return Err(ConfigError::Unsupported {
                key: "layer_norm_epsilon",
                found: self.layer_norm_epsilon.to_string(),
                expected: "a number between 0 and 1",
            });
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            return Err(ConfigError::Unsupported {
                key: "initializer_range",
                found: self.initializer_range.to_string(),
                expected: "a standard deviation, 0 or more",
            });
        }
        for (key, p) in [
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(ConfigError::Unsupported {
                    key,
                    found: p.to_string(),
                    expected: "a probability from 0 to below 1",
                });
            }
        }
        self.validate_other()?;
        self.validate_bsbr()
    }

    /// Checks keys that other GPT-2 code reads: they must not contradict ours or require
    /// unsupported features.
    fn validate_other(&self) -> Result<(), ConfigError> {
        for key in ["add_cross_attention", "is_encoder_decoder"] {
            if self.other.get(key).and_then(Value::as_bool) == Some(true) {
                return Err(ConfigError::Unsupported {
                    key,
                    found: "true".into(),
                    expected: "false",
                });
            }
        }
        let absent = |value: &Value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        for (key, expected) in [
            (
                "pruned_heads",
                "none: give a checkpoint with all of its heads",
            ),
            (
                "quantization_config",
                "none: give the checkpoint as f32, f16 or bf16",
            ),
        ] {
            if let Some(found) = self.other.get(key).filter(|found| !absent(found)) {
                return Err(ConfigError::Unsupported {
                    key,
                    found: found.to_string(),
                    expected,
                });
            }
        }
        for (alias, key, value) in [
            ("n_ctx", "n_positions", self.n_positions),
            ("hidden_size", "n_embd", self.n_embd),
            ("max_position_embeddings", "n_positions", self.n_positions),
            ("num_attention_heads", "n_head", self.n_head),
            ("num_hidden_layers", "n_layer", self.n_layer),
        ] {
            if let Some(found) = self.other.get(alias)
                && found.as_u64() != Some(value as u64)
            {
                return Err(ConfigError::Contradiction {
                    message: format!(
                        "`{alias}` is {found} but `{key}` is {value}; both name the same number"
                    ),
                });
            }
        }
        Ok(())
    }

    fn validate_bsbr(&self) -> Result<(), ConfigError> {
        let Some(bsbr) = &self.bsbr else {
            return Ok(());
        };
        if bsbr.version != 1 {
            return Err(ConfigError::Unsupported {
                key: "bsbr.version",
                found: bsbr.version.to_string(),
                expected: "1",
            });
        }
        if bsbr.layers.len() != self.n_layer {
            return Err(ConfigError::Contradiction {
                message: format!(
                    "`bsbr.layers` names {} layers but `n_layer` is {}",
                    bsbr.layers.len(),
                    self.n_layer
                ),
            });
        }
        if let Some(positions) = bsbr.positions {
            let (found, max) = (positions.trained, self.n_positions);
            if !(1..=max).contains(&found) {
                return Err(ConfigError::OutOfBounds {
                    key: "bsbr.positions.trained",
                    found,
                    max,
                });
            }
            positions.extension.validate(found)?;
        }
        let shape = self.head_shape();
        for (layer, arm) in bsbr.layers.iter().enumerate() {
            arm.validate(shape)
                .map_err(|source| ConfigError::Arm { layer, source })?;
        }
        Ok(())
    }

    fn parameters(&self) -> u128 {
        let [v, p, d, l, i] = [
            self.vocab_size,
            self.n_positions,
            self.n_embd,
            self.n_layer,
            self.inner_size(),
        ]
        .map(|n| n as u128);
        (v + p) * d + l * (4 * d * d + 2 * d * i)
    }
}
