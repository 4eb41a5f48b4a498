//! Spans around the parts of a forward pass, for whoever wants to know where its time goes.

/// The target of the `tracing` spans that a forward pass opens, one after another, at level trace:
/// `embedding`, `layer norm`, `qkv`, `attention`, `attention projection`, `feed-forward in`,
/// `activation`, `feed-forward out`, `residual` and `head`.
///
/// Without a subscriber they cost nothing that could be measured. On devices that compute
/// asynchronously a span tells how long it took to ask, not to compute.
pub const SPANS: &str = "bsbr_gpt2";

/// The value of an expression, computed within a span.
macro_rules! within {
    ($name:literal, $value:expr) => {{
        let _span = tracing::trace_span!(target: crate::spans::SPANS, $name).entered();
        $value
    }};
}

pub(crate) use within;
