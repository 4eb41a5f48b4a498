//! Tracing spans around the parts of a forward pass.

/// The target of the `tracing` spans of a forward pass, in sequence, at level trace: `embedding`,
/// `layer norm`, `qkv`, `attention`, `attention projection`, `feed-forward in`, `activation`,
/// `feed-forward out`, `residual` and `head`.
///
/// Without a subscriber their cost is not measurable. On asynchronous devices a span measures the
/// time to submit work, not to compute.
pub const SPANS: &str = "bsbr_gpt2";

/// The value of an expression, computed within a span.
macro_rules! within {
    ($name:literal, $value:expr) => {{
        let _span = tracing::trace_span!(target: crate::spans::SPANS, $name).entered();
        $value
    }};
}

pub(crate) use within;
