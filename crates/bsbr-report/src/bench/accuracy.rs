//! The distance of a device's results from those of the CPU in `f32`.

use bsbr_gpt2::Gpt2;

use crate::compare::host;
use crate::decoding::last_logits;
use crate::error::ReportError;

/// The longest sequence that the CPU computes for comparison.
const LONGEST: usize = 2048;

/// The error of logits, relative to their norm.
pub(super) const ERROR: &str = "error";

/// The distance of the last token's logits from those of the same arm on a CPU.
///
/// # Errors
///
/// Why they cannot be compared.
pub(super) fn of(model: &Gpt2, exact: &Gpt2, ids: &[u32]) -> Result<f64, String> {
    let logits =
        |model| host(last_logits(model, ids)?).map_err(|error: ReportError| error.to_string());
    Ok(error(&logits(model)?, &logits(exact)?))
}

/// Refuses sequences that take too long on a CPU.
///
/// # Errors
///
/// The reason, as text for a table.
pub(super) fn check(length: usize) -> Result<(), String> {
    match length > LONGEST {
        true => Err(format!("not compared beyond {LONGEST} tokens")),
        false => Ok(()),
    }
}

/// ‖y − y₀‖ ÷ ‖y₀‖ of y `found` and y₀ `reference`.
fn error(found: &[f32], reference: &[f32]) -> f64 {
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
