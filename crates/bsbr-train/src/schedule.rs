//! Learning rates over a run.

/// The factor of a learning rate at step `step`: it rises linearly for `warmup` steps, then
/// falls along a cosine to `final_share` at step `end`.
pub(crate) fn rate(step: u64, warmup: u64, end: u64, final_share: f64) -> f64 {
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let length = end.saturating_sub(warmup).max(1);
    let progress = ((step - warmup) as f64 / length as f64).min(1.0);
    final_share + (1.0 - final_share) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn it_rises_then_falls_to_its_last_share() {
        assert_eq!(rate(0, 4, 10, 0.1), 0.25);
        assert_eq!(rate(4, 4, 10, 0.1), 1.0);
        assert!((rate(7, 4, 10, 0.1) - 0.55).abs() < 1e-12);
        assert!((rate(10, 4, 10, 0.1) - 0.1).abs() < 1e-12);
        assert_eq!(rate(99, 0, 10, 1.0), 1.0);
    }
}
