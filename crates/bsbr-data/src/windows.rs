//! Windows over a long token list, for perplexity.

use std::ops::Range;

/// One window of [`strided_windows`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens that the model sees.
    pub range: Range<usize>,
    /// The tokens whose loss counts, a part of `range`; each is predicted from
    /// the tokens before it in `range`.
    pub scored: Range<usize>,
}

/// Windows of at most `window` tokens that advance by `stride`. Every token
/// except the first is scored exactly once. After the first window, every
/// scored token has at least `window - stride` tokens before it.
///
/// The first token cannot be predicted. A `stride` above `window - 1` is
/// lowered to it, and one of 0 raised to 1. With a `window` below 2 nothing can
/// be predicted, and there are no windows.
pub fn strided_windows(len: usize, window: usize, stride: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    if window < 2 || len < 2 {
        return windows;
    }
    let stride = stride.clamp(1, window - 1);
    let mut scored = 1;
    let mut end = window.min(len);
    loop {
        windows.push(Window {
            range: end.saturating_sub(window)..end,
            scored: scored..end,
        });
        if end == len {
            return windows;
        }
        scored = end;
        end = (end + stride).min(len);
    }
}
