//! Shapes of published models, for measurements without their weights.

use std::fmt;

use bsbr_gpt2::{ConfigError, Gpt2Config};

/// The shape of a published GPT-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// 124 M parameters: 12 layers, 12 heads, 768 dimensions
    Gpt2,
    /// 355 M parameters: 24 layers, 16 heads, 1,024 dimensions
    Gpt2Medium,
}

impl Shape {
    /// Its configuration.
    pub fn config(self) -> Result<Gpt2Config, ConfigError> {
        let (layers, heads, size) = match self {
            Self::Gpt2 => (12, 12, 768),
            Self::Gpt2Medium => (24, 16, 1024),
        };
        Gpt2Config::from_json(&format!(
            r#"{{"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024,
                "n_embd": {size}, "n_layer": {layers}, "n_head": {heads}}}"#
        ))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt2 => "gpt2",
            Self::Gpt2Medium => "gpt2-medium",
        })
    }
}
