//! Initial weights, as in `transformers`.

use burn::tensor::{Device, TensorData};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::config::Gpt2Config;
use crate::error::ConfigError;
use crate::model::Gpt2;
use crate::parameters::replace_tensors;

impl Gpt2 {
    /// A model with random weights, which depend only on the seed, not on the device.
    ///
    /// As in `transformers`: weights are normal with standard deviation `initializer_range`,
    /// divided by √(2·`n_layer`) for a block's two output projections; biases are zero, norms the
    /// identity. An arm's own parameters have the values that need no training.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration is invalid.
    pub fn init(config: &Gpt2Config, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let residual = config.initializer_range / (2.0 * config.n_layer as f64).sqrt();
        Ok(replace_tensors(
            Self::zeros(config, device)?,
            |name, shape| {
                let std = if name.contains(".bsbr.") || shape.len() != 2 {
                    return None;
                } else if name.ends_with(".c_proj.weight") {
                    residual
                } else {
                    config.initializer_range
                };
                let values = normals(&mut rng, shape.iter().product(), std);
                Some(TensorData::new(values, shape.to_vec()))
            },
        ))
    }
}

/// `count` normal numbers of mean zero, in pairs by the Box–Muller transform.
fn normals(rng: &mut ChaCha8Rng, count: usize, std: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // In (0, 1], so that the logarithm is finite.
        let radius = std * (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_the_mean_and_the_deviation_asked_for() {
        let values = normals(&mut ChaCha8Rng::seed_from_u64(3), 100_001, 0.5);
        assert_eq!(values.len(), 100_001);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / 100_001.0;
        let square = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 100_001.0;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((square - 0.25).abs() < 0.01, "{square}");
        let beyond = values.iter().filter(|x| x.abs() > 1.0).count() as f64 / 100_001.0;
        assert!(
            (beyond - 0.0455).abs() < 0.005,
            "{beyond} beyond two deviations"
        );
    }
}
