//! A context that grows, and tokens generated after it: of ours and of PyTorch's.

use std::time::Instant;

use bsbr_gpt2::{Gpt2, Gpt2Cache};

use crate::reading::{cache_bytes, feed, likeliest, read_on};
use crate::torch::{Baseline, Kind};

/// Tokens that PyTorch generates between two looks at the clock.
const TORCH_AT_ONCE: usize = 8;

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Seconds of reading a context, from its first token on.
    pub reading: f64,
    /// Seconds of generating after it; what was generated until then counts.
    pub generating: f64,
}

impl Limits {
    /// Whatever it takes.
    pub(crate) const NONE: Self = Self {
        reading: f64::INFINITY,
        generating: f64::INFINITY,
    };
}

/// What a model keeps of the tokens that it read, and what follows them.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    cache: Gpt2Cache,
    next: u32,
    /// Tokens that were read.
    pub length: usize,
    /// Seconds that reading them took, to the first generated token.
    pub seconds: f64,
}

impl Context {
    /// Nothing was read yet.
    pub(crate) fn new(model: &Gpt2) -> Self {
        Self {
            cache: model.new_cache(),
            next: 0,
            length: 0,
            seconds: 0.0,
        }
    }

    /// Reads on to the end of `ids`, of which it has read the first [`length`](Self::length).
    ///
    /// # Errors
    ///
    /// Why the model cannot take the tokens, or that they would take longer than the limit.
    pub(crate) fn read(
        &mut self,
        model: &Gpt2,
        ids: &[u32],
        piece: usize,
        limits: Limits,
    ) -> Result<(), String> {
        let rest = ids.get(self.length..).unwrap_or_default();
        for now in rest.chunks(piece.max(1)) {
            let start = Instant::now();
            let hidden = feed(model, now, &mut self.cache)?;
            self.length += now.len();
            let left = ids.len() - self.length;
            if left == 0 {
                self.next = likeliest(model.last_logits(hidden))?;
            }
            let seconds = start.elapsed().as_secs_f64();
            self.seconds += seconds;
            if left > 0 {
                let expected = self.seconds + seconds * left as f64 / now.len() as f64;
                within(expected, ids.len(), limits)?;
            }
        }
        Ok(())
    }

    /// Generates `tokens` tokens, the likeliest each; gives the mean seconds of one.
    ///
    /// # Errors
    ///
    /// Why the model cannot go on.
    pub(crate) fn generate(
        &mut self,
        model: &Gpt2,
        tokens: usize,
        limits: Limits,
    ) -> Result<f64, String> {
        let start = Instant::now();
        for done in 1..=tokens {
            self.next = likeliest(read_on(model, self.next, &mut self.cache)?)?;
            let seconds = start.elapsed().as_secs_f64();
            if done == tokens || seconds > limits.generating {
                return Ok(seconds / done as f64);
            }
        }
        Err("no tokens were to be generated".to_owned())
    }

    /// Bytes that are kept of what was read and generated.
    pub(crate) fn bytes(&self) -> f64 {
        cache_bytes(&self.cache)
    }
}

/// Refuses what is expected to take longer than the limit.
pub(crate) fn within(seconds: f64, tokens: usize, limits: Limits) -> Result<(), String> {
    match seconds > limits.reading {
        true => Err(format!(
            "reading {tokens} tokens would take about {seconds:.0} s; {:.0} s are allowed",
            limits.reading
        )),
        false => Ok(()),
    }
}

/// Has PyTorch read a context, and gives its seconds.
///
/// # Errors
///
/// What the process said.
pub(crate) fn torch_read(baseline: &Baseline, tokens: usize) -> Result<f64, String> {
    baseline.measure(Kind::Sdpa, "read", tokens)
}

/// Has PyTorch generate after what it read, and gives the mean seconds of a token.
///
/// # Errors
///
/// What the process said.
pub(crate) fn torch_generate(
    baseline: &Baseline,
    tokens: usize,
    limits: Limits,
) -> Result<f64, String> {
    let (mut done, mut seconds) = (0, 0.0);
    while done < tokens && seconds <= limits.generating {
        let now = TORCH_AT_ONCE.min(tokens - done);
        seconds += now as f64 * baseline.measure(Kind::Sdpa, "generate", now)?;
        done += now;
    }
    match done {
        0 => Err("no tokens were to be generated".to_owned()),
        done => Ok(seconds / done as f64),
    }
}

/// Bytes that PyTorch keeps of what it read and generated.
///
/// # Errors
///
/// What the process said.
pub(crate) fn torch_bytes(baseline: &Baseline) -> Result<f64, String> {
    baseline.measure(Kind::Sdpa, "cache", 0)
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::Gpt2Config;
    use burn::tensor::Device;

    use super::*;
    use crate::reading::read;

    fn model() -> Gpt2 {
        let text = r#"{"model_type": "gpt2", "vocab_size": 40, "n_positions": 32,
                       "n_embd": 16, "n_layer": 2, "n_head": 2}"#;
        let config = Gpt2Config::from_json(text).unwrap();
        Gpt2::init(&config, 1, &Device::default()).unwrap()
    }

    #[test]
    fn a_context_is_read_on_from_length_to_length() {
        let model = model();
        let ids: Vec<u32> = (0..24).collect();
        let mut context = Context::new(&model);
        for length in [8, 8, 23] {
            context
                .read(&model, &ids[..length], 5, Limits::NONE)
                .unwrap();
            assert_eq!(context.length, length);
            let (cache, logits) = read(&model, &ids[..length], 5).unwrap();
            assert_eq!(context.bytes(), cache_bytes(&cache));
            assert_eq!(context.next, likeliest(logits).unwrap());
        }
        assert!(context.seconds > 0.0);
        let before = context.bytes();
        assert!(context.generate(&model, 3, Limits::NONE).unwrap() > 0.0);
        assert_eq!(context.bytes(), before / 23.0 * 26.0);
    }

    #[test]
    fn what_takes_too_long_is_given_up_with_a_reason_or_cut_short() {
        let (model, ids) = (model(), [1; 32]);
        let limits = Limits {
            reading: 0.0,
            generating: 0.0,
        };
        let mut context = Context::new(&model);
        let reason = context.read(&model, &ids[..20], 4, limits).unwrap_err();
        assert!(reason.contains("20 tokens would take"), "{reason}");
        assert_eq!(context.length, 4);
        let mut context = Context::new(&model);
        context.read(&model, &ids[..4], 4, Limits::NONE).unwrap();
        let tokens = |context: &Context| context.cache.lengths()[0];
        context.generate(&model, 5, limits).unwrap();
        assert_eq!(tokens(&context), 5);
        assert!(context.generate(&model, 0, limits).is_err());
        assert!(context.read(&model, &[1; 40], 40, Limits::NONE).is_err());
    }
}
