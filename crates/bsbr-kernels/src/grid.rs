//! The positions of tokens: sinks, chunks, near and far field.

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

impl Default for Grid {
    /// Chunks of 128 tokens with one near chunk, and 4 sinks.
    fn default() -> Self {
        Self {
            sinks: 4,
            chunk_size: 128,
            near_chunks: 1,
        }
    }
}

impl Grid {
    /// All tokens in one chunk, which have no far field.
    pub const DENSE: Self = Self {
        sinks: 0,
        chunk_size: usize::MAX / 2,
        near_chunks: 0,
    };

    /// C, the number of chunks of a sequence of `tokens`; the last one may be
    /// partial.
    pub fn chunks(&self, tokens: usize) -> usize {
        tokens.saturating_sub(self.sinks).div_ceil(self.chunk_size)
    }

    /// The number of whole chunks of a sequence of `tokens`: the chunk of the next token, which is
    /// 0 for a sink.
    pub fn whole_chunks(&self, tokens: usize) -> usize {
        tokens.saturating_sub(self.sinks) / self.chunk_size
    }

    /// Chunks that are far from the last token of a sequence of `tokens`.
    pub fn far_chunks(&self, tokens: usize) -> usize {
        self.far_of(self.chunks(tokens).saturating_sub(1))
    }

    /// Chunks that are far from token `token`; 0 for a sink.
    pub fn far_of_token(&self, token: usize) -> usize {
        self.far_of(self.whole_chunks(token))
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

    /// The end of the chunk that token `token` is in, or of the sinks.
    pub fn end_of(&self, token: usize) -> usize {
        self.chunk_of(token)
            .map_or(self.sinks, |chunk| self.start_of(chunk + 1))
    }

    /// First token that chunk `chunk` is far from.
    pub fn far_from(&self, chunk: usize) -> usize {
        self.start_of(chunk + self.near_chunks + 1)
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
    pub fn window(&self) -> usize {
        (self.near_chunks + 1) * self.chunk_size
    }
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
    fn counts_what_is_far_from_a_token() {
        for token in 0..40 {
            let far = GRID.far_of_token(token);
            assert_eq!(far, GRID.far_chunks(token + 1));
            assert!(GRID.far_from(far) > token);
            assert!(far == 0 || GRID.far_from(far - 1) <= token);
            assert!((token + 1..=token + 4).contains(&GRID.end_of(token)));
        }
        assert_eq!(
            [0, 5, 6, 9, 10].map(|n| GRID.whole_chunks(n)),
            [0, 0, 1, 1, 2]
        );
        assert_eq!([0, 2, 5, 6].map(|token| GRID.end_of(token)), [2, 6, 6, 10]);
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
}
