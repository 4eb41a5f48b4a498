//! The distance of a device's results from those of the CPU in `f32`.

use bsbr_gpt2::{Gpt2, TokenBatch};

use crate::compare::host;

/// The longest sequence that the CPU computes for comparison.
pub(super) const LONGEST: usize = 2048;

/// The error of logits, relative to their norm.
pub(super) const ERROR: &str = "error";

/// Logits of the last token, on the model's own device.
pub(super) fn logits(model: &Gpt2, ids: &[u32]) -> Result<Vec<f32>, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    let hidden = model
        .hidden_states(&batch)
        .map_err(|error| error.to_string())?;
    host(model.last_logits(hidden)).map_err(|error| error.to_string())
}

/// ‖y − y₀‖ ÷ ‖y₀‖ of y `found` and y₀ `reference`.
pub(super) fn error(found: &[f32], reference: &[f32]) -> f64 {
    let norm = |all: &mut dyn Iterator<Item = f64>| all.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = found.iter().zip(reference);
    let apart = norm(&mut pairs.map(|(a, b)| f64::from(a - b)));
    apart / norm(&mut reference.iter().map(|&x| f64::from(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_relative() {
        assert_eq!(error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((error(&[3.0, 5.0], &[3.0, 4.0]) - 0.2).abs() < 1e-12);
    }
}
