//! The positions of tokens: sinks, chunks, near and far field.

use burn::tensor::{Device, Tensor, TensorData};

/// Added to a logit that must be hidden.
///
/// It is finite, so its product with zero is zero and never NaN. It is so low that
/// its exponential is exactly zero beside any visible logit.
pub(crate) const HIDDEN: f32 = -1e30;

/// Logits above this are visible: halfway down to [`HIDDEN`].
pub(crate) const VISIBLE: f32 = -1e29;

/// Logits computed at a time without autodiff: as many as fit the caches of a CPU.
const LOGITS_AT_A_TIME: usize = 1 << 21;

/// Logits computed at a time with autodiff. The backward pass keeps all of them
/// anyway, and the gradient of every slice has the size of the whole tensor.
const TRACKED_LOGITS_AT_A_TIME: usize = 1 << 25;

/// The arithmetic of sinks and chunk grid.
///
/// Tokens `0..sinks` are sinks. Token i ≥ `sinks` is in chunk c(i) = ⌊(i − sinks)/S⌋
/// and attends exactly to the sinks, to its own chunk and to the P chunks before it.
/// Chunks b < c − P are its far field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// First tokens, which all tokens attend to.
    pub sinks: usize,
    /// S, tokens per chunk.
    pub chunk_size: usize,
    /// P, earlier chunks in the near field.
    pub near_chunks: usize,
}

impl Grid {
    /// C, the number of chunks of a sequence of `tokens`; the last one may be
    /// partial.
    pub fn chunks(&self, tokens: usize) -> usize {
        tokens.saturating_sub(self.sinks).div_ceil(self.chunk_size)
    }

    /// Chunks that are far from the last token of a sequence of `tokens`.
    pub fn far_chunks(&self, tokens: usize) -> usize {
        self.far_of(self.chunks(tokens).saturating_sub(1))
    }

    /// Chunks that are far from chunk `chunk`: b < c − P.
    pub fn far_of(&self, chunk: usize) -> usize {
        chunk.saturating_sub(self.near_chunks)
    }

    /// c(i), or `None` for a sink.
    pub fn chunk_of(&self, token: usize) -> Option<usize> {
        Some(token.checked_sub(self.sinks)? / self.chunk_size)
    }

    /// First token of chunk `chunk`.
    pub fn start_of(&self, chunk: usize) -> usize {
        self.sinks + chunk * self.chunk_size
    }

    /// First token of the near field of chunk `chunk`.
    pub fn near_start(&self, chunk: usize) -> usize {
        self.start_of(self.far_of(chunk))
    }

    /// Whether token `query` attends exactly to token `key`.
    pub fn attends(&self, query: usize, key: usize) -> bool {
        key <= query
            && match self.chunk_of(query) {
                None => true,
                Some(chunk) => key < self.sinks || key >= self.near_start(chunk),
            }
    }

    /// (P + 1)·S, keys in the window of a whole chunk.
    pub(crate) fn window(&self) -> usize {
        (self.near_chunks + 1) * self.chunk_size
    }
}

/// Mask of shared keys for the tail chunks of `group`: chunk i sees the clusters of
/// chunks `0..=i`; later ones are hidden.
///
/// # Shapes
///
/// - output: `[1, 1, c, 1, before + end·G]` for a group that ends before `end`, 0 or
///   [`HIDDEN`]; the first `before` keys are visible to all
pub(crate) fn later_clusters(
    group: &std::ops::Range<usize>,
    before: usize,
    clusters: usize,
    device: &Device,
) -> Tensor<5> {
    let width = before + group.end * clusters;
    let mask: Vec<f32> = group
        .clone()
        .flat_map(|chunk| {
            let visible = before + (chunk + 1) * clusters;
            (0..width).map(move |key| if key < visible { 0.0 } else { HIDDEN })
        })
        .collect();
    Tensor::from_data(TensorData::new(mask, [1, 1, group.len(), 1, width]), device)
}

/// The next chunks to compute, chosen so that their logits stay within the budget.
///
/// A chunk has `rows` queries over all heads and sequences; `keys(end)` is the
/// number of keys that each of them sees if the group ends before chunk `end`.
pub(crate) fn next_group(
    start: usize,
    chunks: usize,
    rows: usize,
    tracked: bool,
    keys: impl Fn(usize) -> usize,
) -> std::ops::Range<usize> {
    let budget = if tracked {
        TRACKED_LOGITS_AT_A_TIME
    } else {
        LOGITS_AT_A_TIME
    };
    let fits = |end: &usize| {
        (end - start)
            .saturating_mul(rows)
            .saturating_mul(keys(*end))
            <= budget
    };
    let end = (start + 2..=chunks)
        .take_while(fits)
        .last()
        .unwrap_or(start + 1);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid {
        sinks: 2,
        chunk_size: 4,
        near_chunks: 1,
    };

    #[test]
    fn counts_chunks() {
        let counts = [0, 1, 2, 3, 6, 7, 10, 11].map(|n| (GRID.chunks(n), GRID.far_chunks(n)));
        assert_eq!(
            counts,
            [
                (0, 0),
                (0, 0),
                (0, 0),
                (1, 0),
                (1, 0),
                (2, 0),
                (2, 0),
                (3, 1)
            ]
        );
    }

    #[test]
    fn sees_sinks_and_near_field_only() {
        let seen = |query: usize| {
            (0..20)
                .filter(|&key| GRID.attends(query, key))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(1), [0, 1]);
        assert_eq!(seen(2), [0, 1, 2]);
        assert_eq!(seen(9), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(seen(11), [0, 1, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn groups_cover_every_chunk_once() {
        for chunks in [1, 2, 7] {
            for rows in [1, 1 << 19, 1 << 30] {
                let (mut next, mut seen) = (0, Vec::new());
                while next < chunks {
                    let group = next_group(next, chunks, rows, false, |end| end);
                    assert!(!group.is_empty());
                    next = group.end;
                    seen.extend(group);
                }
                assert_eq!(seen, (0..chunks).collect::<Vec<_>>());
            }
        }
    }
}
