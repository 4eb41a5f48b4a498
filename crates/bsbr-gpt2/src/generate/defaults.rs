//! `generation_config.json`: the generation settings of a model's authors.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::GenerationConfig;
use crate::config::{Gpt2Config, TokenIds};
use crate::error::ConfigError;

/// The range of numbers that the sampler accepts, and its description in errors.
const POSITIVE: (f64, f64, &str) = (1e-6, 1e6, "a number from 0.000001 to 1000000");
const PROBABILITY: (f64, f64, &str) = (0.0, 1.0, "a number from 0 to 1");
const TEMPERATURE: (f64, f64, &str) = (0.0, 1e6, "a number from 0 to 1000000");
const COUNT: &str = "a whole number, 0 or more";

/// Settings of a model folder for [`Gpt2::generate`](crate::Gpt2::generate): those of
/// `generation_config.json`, or without such a file those of the same names in `config.json`.
///
/// Settings that are absent or null have the defaults of `transformers`.
///
/// # Example
///
/// ```
/// use bsbr_gpt2::GenerationDefaults;
///
/// let text = r#"{"eos_token_id": [7, 9], "do_sample": true, "temperature": 0.8, "num_beams": 4}"#;
/// let defaults = GenerationDefaults::from_json(text)?;
/// assert_eq!(defaults.unsupported, ["num_beams"]);
/// let settings = defaults.settings(9);
/// assert_eq!((settings.temperature, settings.top_k), (0.8, Some(50)));
/// // No token of a vocabulary of 9 has the id 9, so that it can end no text.
/// assert_eq!(settings.stop_tokens, [7]);
/// # Ok::<(), bsbr_gpt2::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationDefaults {
    /// End-of-text tokens. Default: none
    pub eos_token_id: Option<TokenIds>,
    /// Strings that end a text. Default: none
    pub stop_strings: Vec<String>,
    /// Whether tokens are sampled; otherwise decoding is greedy. Default: false
    pub do_sample: bool,
    /// Divides the logits. Default: 1
    pub temperature: f64,
    /// Only the k most probable tokens are sampled; `None` for all. Default: 50
    pub top_k: Option<usize>,
    /// Only the smallest set of most probable tokens with this total probability is sampled.
    /// Default: 1
    pub top_p: f64,
    /// Only tokens with at least this share of the highest probability are sampled. Default: 0
    pub min_p: f64,
    /// Divides positive logits and multiplies negative ones of tokens that the text already
    /// contains. Default: 1
    pub repetition_penalty: f64,
    /// No n-gram of this length occurs twice; 0 for no such rule. Default: 0
    pub no_repeat_ngram_size: usize,
    /// The maximum number of new tokens. Default: none
    pub max_new_tokens: Option<usize>,
    /// The maximum number of tokens, including the prompt; `max_new_tokens` overrides it. Default:
    /// none
    pub max_length: Option<usize>,
    /// Settings in the file that are not supported, such as `num_beams`.
    pub unsupported: Vec<&'static str>,
}

impl Default for GenerationDefaults {
    fn default() -> Self {
        Self {
            eos_token_id: None,
            stop_strings: Vec::new(),
            do_sample: false,
            temperature: 1.0,
            top_k: Some(50),
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            max_new_tokens: None,
            max_length: None,
            unsupported: Vec::new(),
        }
    }
}

impl GenerationDefaults {
    /// Reads and checks the text of a `generation_config.json`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, the expected and the found value.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_str(text).map_err(|e| ConfigError::Json {
            message: e.to_string(),
        })?;
        match value {
            Value::Object(keys) => Self::from_keys(&Keys(&keys)),
            _ => Err(ConfigError::Json {
                message: "expected an object, `{ … }`".into(),
            }),
        }
    }

    /// The generation settings in `config.json`, if there is no `generation_config.json`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, the expected and the found value.
    pub fn from_config(config: &Gpt2Config) -> Result<Self, ConfigError> {
        Ok(Self {
            eos_token_id: config.eos_token_id.clone(),
            ..Self::from_keys(&Keys(&config.other))?
        })
    }

    /// The generation settings for a vocabulary of `vocab_size` tokens, with 20 new tokens by
    /// default.
    pub fn settings(&self, vocab_size: usize) -> GenerationConfig {
        let stop = self.eos_token_id.as_ref().map(TokenIds::as_slice);
        let in_vocabulary = |id: &&u32| (**id as usize) < vocab_size;
        let mut settings = GenerationConfig {
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            stop_tokens: stop
                .unwrap_or_default()
                .iter()
                .filter(in_vocabulary)
                .copied()
                .collect(),
            ..GenerationConfig::default()
        };
        if let Some(most) = self.max_new_tokens {
            settings.max_new_tokens = most;
        }
        if self.do_sample {
            settings.temperature = self.temperature;
            settings.top_k = self.top_k;
            settings.top_p = self.top_p;
            settings.min_p = self.min_p;
        }
        settings
    }

    fn from_keys(keys: &Keys<'_>) -> Result<Self, ConfigError> {
        let default = Self::default();
        Ok(Self {
            eos_token_id: keys.get("eos_token_id", "a token id or a list of them")?,
            stop_strings: match keys.get("stop_strings", "a string or a list of strings")? {
                Some(OneOrMany::One(string)) => vec![string],
                Some(OneOrMany::Many(strings)) => strings,
                None => Vec::new(),
            },
            do_sample: keys.get("do_sample", "true or false")?.unwrap_or(false),
            temperature: keys.number("temperature", default.temperature, TEMPERATURE)?,
            top_k: match keys.get("top_k", COUNT)? {
                Some(0) => None,
                found => found.or(default.top_k),
            },
            top_p: keys.number("top_p", default.top_p, PROBABILITY)?,
            min_p: keys.number("min_p", default.min_p, PROBABILITY)?,
            repetition_penalty: keys.number(
                "repetition_penalty",
                default.repetition_penalty,
                POSITIVE,
            )?,
            no_repeat_ngram_size: keys.get("no_repeat_ngram_size", COUNT)?.unwrap_or(0),
            max_new_tokens: keys.get("max_new_tokens", COUNT)?.filter(|most| *most > 0),
            max_length: keys.get("max_length", COUNT)?.filter(|most| *most > 0),
            unsupported: keys.unsupported(),
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The settings of a file.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    /// A setting, if present.
    fn get<T: DeserializeOwned>(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        match self.0.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => match T::deserialize(value) {
                Ok(found) => Ok(Some(found)),
                Err(_) => Err(ConfigError::Unsupported {
                    key,
                    found: value.to_string(),
                    expected,
                }),
            },
        }
    }

    /// A number within bounds.
    fn number(
        &self,
        key: &'static str,
        default: f64,
        (least, most, expected): (f64, f64, &'static str),
    ) -> Result<f64, ConfigError> {
        let found = self.get(key, expected)?.unwrap_or(default);
        match (least..=most).contains(&found) {
            true => Ok(found),
            false => Err(ConfigError::Unsupported {
                key,
                found: found.to_string(),
                expected,
            }),
        }
    }

    /// Unsupported settings of `transformers` that affect generation, if they differ from the value
    /// without effect.
    fn unsupported(&self) -> Vec<&'static str> {
        let neutral = [
            ("min_length", json!(0)),
            ("min_new_tokens", json!(0)),
            ("max_time", Value::Null),
            ("num_beams", json!(1)),
            ("num_beam_groups", json!(1)),
            ("diversity_penalty", json!(0.0)),
            ("penalty_alpha", json!(0.0)),
            ("dola_layers", Value::Null),
            ("num_return_sequences", json!(1)),
            ("top_h", Value::Null),
            ("typical_p", json!(1.0)),
            ("epsilon_cutoff", json!(0.0)),
            ("eta_cutoff", json!(0.0)),
            ("bad_words_ids", Value::Null),
            ("force_words_ids", Value::Null),
            ("constraints", Value::Null),
            ("forced_bos_token_id", Value::Null),
            ("forced_eos_token_id", Value::Null),
            ("exponential_decay_length_penalty", Value::Null),
            ("suppress_tokens", Value::Null),
            ("begin_suppress_tokens", Value::Null),
            ("sequence_bias", Value::Null),
            ("token_healing", json!(false)),
            ("guidance_scale", json!(1.0)),
            ("watermarking_config", Value::Null),
        ];
        let asks = |(key, neutral): &(&str, Value)| {
            self.0.get(*key).is_some_and(|found| {
                let none = found.is_null() || found.as_array().is_some_and(Vec::is_empty);
                // 1 and 1.0 are the same number.
                let same =
                    found == neutral || (found.is_number() && found.as_f64() == neutral.as_f64());
                !none && !same
            })
        };
        neutral
            .into_iter()
            .filter(asks)
            .map(|(key, _)| key)
            .collect()
    }
}
