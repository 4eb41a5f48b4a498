//! Lower bounds of the time of every arm: the linear layers, and the operations of its attention.

use bsbr_attention::ArmConfig;
use bsbr_gpt2::Gpt2Config;

/// The cost of the linear layers of a forward pass to the last token's logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Floating-point operations, two for each multiply-add.
    pub operations: f64,
    /// Bytes of weights, inputs and outputs of every layer, each counted once.
    pub bytes: f64,
}

impl Floor {
    /// The floor of a model of that shape for `tokens` tokens and numbers of `number` bytes.
    pub fn of(config: &Gpt2Config, tokens: usize, number: usize) -> Self {
        let (n, c, inner) = (
            tokens as f64,
            config.n_embd as f64,
            config.inner_size() as f64,
        );
        let layers = [(c, 3.0 * c), (c, c), (c, inner), (inner, c)];
        let weights: f64 = layers.iter().map(|(from, to)| from * to).sum();
        let passing: f64 = layers.iter().map(|(from, to)| n * (from + to)).sum();
        let depth = config.n_layer as f64;
        let head = c * config.vocab_size as f64;
        Self {
            operations: 2.0 * (depth * n * weights + head),
            bytes: number as f64 * (depth * (weights + passing) + head),
        }
    }
}

/// Floating-point operations of one layer's attention, by the arm's definition.
pub fn attention_operations(config: &Gpt2Config, arm: &ArmConfig, tokens: usize) -> f64 {
    2.0 * config.n_head as f64 * arm.multiply_adds(tokens, config.head_dim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_smallest_gpt2_takes_two_operations_a_weight() {
        let [one, two] = [1, 2].map(|tokens| Floor::of(&Gpt2Config::default(), tokens, 4));
        // 12 layers of 12·768² weights.
        assert_eq!(two.operations - one.operations, 2.0 * 84_934_656.0);
        // The head is computed for only one token.
        assert_eq!(one.operations, 2.0 * (84_934_656.0 + 768.0 * 50_257.0));
        assert_eq!(two.bytes - one.bytes, 4.0 * 12.0 * 16.0 * 768.0);
    }

    #[test]
    fn attention_counts_the_keys_that_a_query_sees() {
        // Three pairs of two tokens, scores and values.
        let found = attention_operations(&Gpt2Config::default(), &ArmConfig::DENSE, 2);
        assert_eq!(found, 4.0 * 3.0 * 768.0);
    }
}
