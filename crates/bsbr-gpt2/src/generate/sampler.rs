//! From logits to tokens.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{GenerationConfig, GenerationError};

/// Chooses the tokens of one row.
///
/// # Example
///
/// ```
/// use bsbr_gpt2::{GenerationConfig, Sampler};
///
/// let config = GenerationConfig { temperature: 1.0, top_k: Some(2), ..Default::default() };
/// let sampler = Sampler::new(&config, 0)?;
/// let probabilities = sampler.probabilities(&[0.0, 2.0, 2.0, -1.0], &[]);
/// assert_eq!(probabilities, [0.0, 0.5, 0.5, 0.0]);
/// # Ok::<(), bsbr_gpt2::GenerationError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    config: GenerationConfig,
    row: usize,
    step: usize,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler for row `row` of a batch.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Setting`] names the setting that is out of bounds.
    pub fn new(config: &GenerationConfig, row: usize) -> Result<Self, GenerationError> {
        config.validate()?;
        Ok(Self {
            config: config.clone(),
            row,
            step: 0,
            rng: ChaCha8Rng::seed_from_u64(config.seed.wrapping_add(row as u64)),
        })
    }

    /// The logits after every setting; tokens that cannot be drawn are −∞.
    ///
    /// `context` is the row so far, including the prompt; ids beyond the logits are ignored. At
    /// temperature 0 only the repetition penalty and `no_repeat_ngram_size` apply.
    pub fn process(&self, logits: &[f32], context: &[u32]) -> Vec<f32> {
        let mut logits = logits.to_vec();
        self.penalise(&mut logits, context);
        self.forbid_repeats(&mut logits, context);
        if self.config.temperature > 0.0 {
            if self.config.temperature != 1.0 {
                logits
                    .iter_mut()
                    .for_each(|x| *x = (f64::from(*x) / self.config.temperature) as f32);
            }
            self.keep_top_k(&mut logits);
            self.keep_top_p(&mut logits);
            self.keep_min_p(&mut logits);
        }
        logits
    }

    /// The sampling probability of each token; at temperature 0 one token has probability 1.
    pub fn probabilities(&self, logits: &[f32], context: &[u32]) -> Vec<f64> {
        let processed = self.process(logits, context);
        if self.config.temperature > 0.0 {
            return softmax(&processed);
        }
        let mut probabilities = vec![0.0; processed.len()];
        if let Some(p) = probabilities.get_mut(argmax(&processed)) {
            *p = 1.0;
        }
        probabilities
    }

    /// Chooses the token after `context`.
    ///
    /// # Errors
    ///
    /// [`GenerationError::NotFinite`] if the logits contain NaN or none is finite.
    pub fn next_token(&mut self, logits: &[f32], context: &[u32]) -> Result<u32, GenerationError> {
        let not_finite = |found| GenerationError::NotFinite {
            row: self.row,
            step: self.step,
            found,
        };
        if logits.iter().any(|x| x.is_nan()) {
            return Err(not_finite("not a number (NaN)"));
        }
        if logits.contains(&f32::INFINITY) {
            return Err(not_finite("infinite"));
        }
        if !logits.iter().any(|x| x.is_finite()) {
            return Err(not_finite("all −∞, or empty"));
        }
        let processed = self.process(logits, context);
        if !processed.iter().any(|x| x.is_finite()) {
            return Err(not_finite(
                "all −∞, because the settings forbid every token",
            ));
        }
        if self.config.temperature == 0.0 {
            self.step += 1;
            return Ok(argmax(&processed) as u32);
        }
        let probabilities = softmax(&processed);
        let total: f64 = probabilities.iter().sum();
        if !total.is_finite() {
            return Err(not_finite("too large for the settings"));
        }
        self.step += 1;
        let mut left = self.rng.random::<f64>() * total;
        let mut chosen = 0;
        for (id, &p) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            chosen = id;
            left -= p;
            if left < 0.0 {
                break;
            }
        }
        Ok(chosen as u32)
    }

    fn penalise(&self, logits: &mut [f32], context: &[u32]) {
        if self.config.repetition_penalty == 1.0 {
            return;
        }
        let penalty = self.config.repetition_penalty as f32; // within f32 by `validate`
        let mut seen = vec![false; logits.len()];
        for &id in context {
            if let Some(seen) = seen.get_mut(id as usize) {
                *seen = true;
            }
        }
        for (x, _) in logits.iter_mut().zip(seen).filter(|(_, seen)| *seen) {
            *x = if *x < 0.0 { *x * penalty } else { *x / penalty };
        }
    }

    /// Forbids tokens that would complete an n-gram that the row already contains.
    fn forbid_repeats(&self, logits: &mut [f32], context: &[u32]) {
        let size = self.config.no_repeat_ngram_size;
        if size == 0 || context.len() < size {
            return;
        }
        let begun = &context[context.len() + 1 - size..];
        for ngram in context.windows(size) {
            let Some((&last, before)) = ngram.split_last() else {
                continue;
            };
            if before == begun
                && let Some(x) = logits.get_mut(last as usize)
            {
                *x = f32::NEG_INFINITY;
            }
        }
    }

    /// Removes tokens whose probability is below `min_p` times the highest probability.
    fn keep_min_p(&self, logits: &mut [f32]) {
        if self.config.min_p <= 0.0 {
            return;
        }
        let probabilities = softmax(logits);
        let most = probabilities.iter().copied().fold(0.0, f64::max);
        for (x, p) in logits.iter_mut().zip(probabilities) {
            if p < self.config.min_p * most {
                *x = f32::NEG_INFINITY;
            }
        }
    }

    fn keep_top_k(&self, logits: &mut [f32]) {
        let Some(k) = self.config.top_k.filter(|&k| k < logits.len()) else {
            return;
        };
        let mut sorted = logits.to_vec();
        let (_, &mut least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        for x in logits.iter_mut().filter(|x| **x < least) {
            *x = f32::NEG_INFINITY;
        }
    }

    /// Removes the least probable tokens while their total probability is at most 1 − `top_p`; the
    /// most probable token always stays.
    fn keep_top_p(&self, logits: &mut [f32]) {
        if self.config.top_p >= 1.0 || logits.is_empty() {
            return;
        }
        let probabilities = softmax(logits);
        let mut order: Vec<usize> = (0..logits.len())
            .filter(|&id| probabilities[id] > 0.0)
            .collect();
        // Among ties the last is removed first, so the first stays, as in `argmax`.
        order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)));
        order.pop();
        let mut dropped = 0.0;
        for id in order {
            dropped += probabilities[id];
            if dropped > 1.0 - self.config.top_p {
                break;
            }
            logits[id] = f32::NEG_INFINITY;
        }
    }
}

/// The first of the largest.
fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (id, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = id;
        }
    }
    best
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights: Vec<f64> = logits.iter().map(|&x| f64::from(x - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    weights
}
