//! The numbers that the metrics read.

/// A number that converts to `f64` without loss, such as `f32` or `f64`.
///
/// Implemented for every such type; all arithmetic is then done in `f64`.
pub trait Real: Copy + Into<f64> {}

impl<T: Copy + Into<f64>> Real for T {}
