//! `config.json` in the format of Hugging Face, checked before anything is built from it.

use bsbr_attention::{ArmConfig, HeadShape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::position::PositionExtension;

mod read;
mod validate;

pub(crate) use validate::MAX_SIZE;

/// Other keys for the number of positions.
const POSITIONS: [&str; 2] = ["n_ctx", "max_position_embeddings"];

/// `model_type` of a GPT-2.
pub const GPT2: &str = "gpt2";
/// `model_type` of a GPT-2 with other attention than the original, which `transformers` does not
/// know by default.
pub const BSBR_GPT2: &str = "bsbr_gpt2";

/// Activation functions that GPT-2 checkpoints use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// GELU in its tanh form, `gelu_new` (also written `gelu_pytorch_tanh`).
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// GELU by the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// max(0, x).
    #[serde(rename = "relu")]
    Relu,
    /// x·sigmoid(x), also written `swish`.
    #[serde(rename = "silu", alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    #[serde(rename = "tanh")]
    Tanh,
}

/// Token ids with one role: one id or a list, as in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenIds {
    /// One token.
    One(u32),
    /// Several tokens, any of which has the role.
    Many(Vec<u32>),
}

impl TokenIds {
    /// The ids.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// The `bsbr` object of a converted model's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BsbrConfig {
    /// Version of this object's format; 1.
    pub version: u32,
    /// The arm of every layer, from the first.
    pub layers: Vec<ArmConfig>,
    /// The source of rows of the position table that were not trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<ExtendedPositions>,
}

/// How a model got more positions than it was trained with. The table in its weights has all of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendedPositions {
    /// The number of trained positions.
    pub trained: usize,
    /// The method for the other positions.
    pub extension: PositionExtension,
}

/// A GPT-2's configuration, with the names and defaults of `transformers`.
///
/// Keys that do not affect the computation are kept in `other` and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// [`GPT2`], or with a `bsbr` object possibly [`BSBR_GPT2`].
    pub model_type: String,
    /// V, tokens in the vocabulary.
    pub vocab_size: usize,
    /// Number of positions with embeddings.
    pub n_positions: usize,
    /// Dimensions of the residual stream.
    pub n_embd: usize,
    /// Transformer blocks.
    pub n_layer: usize,
    /// H, attention heads of a block.
    pub n_head: usize,
    /// Dimensions of the feed-forward layer; 4·`n_embd` if absent.
    pub n_inner: Option<usize>,
    /// Activation of the feed-forward layer.
    pub activation_function: Activation,
    /// Dropout on the output of a block's layers (training only).
    pub resid_pdrop: f64,
    /// Dropout on the embeddings (training only).
    pub embd_pdrop: f64,
    /// Dropout on attention weights (training only).
    pub attn_pdrop: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of initial weights.
    pub initializer_range: f64,
    /// Whether scores are divided by √D.
    pub scale_attn_weights: bool,
    /// Whether scores of layer l are divided by l + 1 as well.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether half-precision models compute attention scores in f32.
    pub reorder_and_upcast_attn: bool,
    /// Whether `lm_head` is `wte`.
    pub tie_word_embeddings: bool,
    /// Id of the token at the start of a text.
    pub bos_token_id: Option<u32>,
    /// Ids of end-of-text tokens; `generation_config.json` overrides them, see
    /// [`GenerationDefaults`](crate::GenerationDefaults).
    pub eos_token_id: Option<TokenIds>,
    /// The arm of every layer, if the model is converted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bsbr: Option<BsbrConfig>,
    /// Keys that do not affect the computation, unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for Gpt2Config {
    fn default() -> Self {
        Self {
            model_type: GPT2.into(),
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluNew,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            reorder_and_upcast_attn: false,
            tie_word_embeddings: true,
            bos_token_id: Some(50256),
            eos_token_id: Some(TokenIds::One(50256)),
            bsbr: None,
            other: Map::new(),
        }
    }
}

impl Gpt2Config {
    /// The first end-of-text token that is in the vocabulary, if any.
    pub fn end_of_text(&self) -> Option<u32> {
        let ids = self.eos_token_id.as_ref().map(TokenIds::as_slice);
        let mut ids = ids.unwrap_or_default().iter().copied();
        ids.find(|id| (*id as usize) < self.vocab_size)
    }

    /// The text of a `config.json`, for [`Self::from_json`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration is invalid.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        self.validate()?;
        serde_json::to_string_pretty(self).map_err(|e| ConfigError::Json {
            message: e.to_string(),
        })
    }

    /// D, dimensions of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head.max(1)
    }

    /// Dimensions of the feed-forward layer.
    pub fn inner_size(&self) -> usize {
        self.n_inner.unwrap_or(self.n_embd.saturating_mul(4))
    }

    /// The sizes that an attention arm depends on.
    pub fn head_shape(&self) -> HeadShape {
        HeadShape {
            num_heads: self.n_head,
            head_dim: self.head_dim(),
            hidden_size: self.n_embd,
        }
    }

    /// σ of layer `layer`: the factor of q·k before the softmax.
    pub fn attention_scale(&self, layer: usize) -> f64 {
        let mut scale = 1.0;
        if self.scale_attn_weights {
            scale /= (self.head_dim() as f64).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f64;
        }
        scale
    }

    /// Whether every layer has the original attention.
    pub fn is_dense(&self) -> bool {
        (0..self.n_layer).all(|layer| self.arm(layer) == ArmConfig::DENSE)
    }

    /// The arm of layer `layer`; dense by default.
    pub fn arm(&self, layer: usize) -> ArmConfig {
        self.bsbr
            .as_ref()
            .and_then(|bsbr| bsbr.layers.get(layer).cloned())
            .unwrap_or(ArmConfig::DENSE)
    }

    /// Sets the same arm for every layer.
    pub fn with_arm(self, arm: ArmConfig) -> Self {
        let layers = vec![arm; self.n_layer];
        self.with_arms(layers)
    }

    /// Sets the arm of every layer, from the first.
    pub fn with_arms(mut self, layers: Vec<ArmConfig>) -> Self {
        self.bsbr = Some(BsbrConfig {
            version: 1,
            layers,
            positions: self.extended_positions(),
        });
        self
    }

    /// The configuration without the arms, which the blocks of a model hold.
    pub(crate) fn without_arms(mut self) -> Self {
        if let Some(bsbr) = &mut self.bsbr {
            bsbr.layers = Vec::new();
        }
        self
    }

    /// The configuration with `positions` positions; `extension` gives the new ones.
    pub(crate) fn extended(mut self, positions: usize, extension: PositionExtension) -> Self {
        let extended = ExtendedPositions {
            trained: self.n_positions,
            extension,
        };
        if self.bsbr.is_none() {
            self = self.with_arm(ArmConfig::DENSE);
        }
        if let Some(bsbr) = &mut self.bsbr {
            bsbr.positions = Some(extended);
        }
        self.n_positions = positions;
        for alias in POSITIONS {
            if let Some(found) = self.other.get_mut(alias) {
                *found = positions.into();
            }
        }
        self
    }

    /// The configuration with all rows of the position table marked as trained.
    pub(crate) fn with_trained_positions(mut self) -> Self {
        if let Some(bsbr) = &mut self.bsbr {
            bsbr.positions = None;
        }
        self
    }

    /// The source of untrained rows of the position table, if any.
    pub fn extended_positions(&self) -> Option<ExtendedPositions> {
        self.bsbr.as_ref().and_then(|bsbr| bsbr.positions)
    }
}
