//! Left padding of the rows of a batch.

use burn::tensor::Tensor;

/// The number of padding tokens before each row's first real token.
///
/// A padded row gives the same output as the row alone: its positions, sinks and
/// chunk grid start at its first real token, and no token attends to padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Padding {
    left: Vec<usize>,
}

impl Padding {
    /// No padding in any row.
    pub fn none() -> Self {
        Self::default()
    }

    /// Row b has `left[b]` padding tokens before its first real token.
    pub fn left(left: Vec<usize>) -> Self {
        Self { left }
    }

    /// Padding tokens before row `row`; 0 for rows without an entry.
    pub fn of_row(&self, row: usize) -> usize {
        self.left.get(row).copied().unwrap_or(0)
    }

    /// Whether no row is padded.
    pub fn is_none(&self) -> bool {
        self.left.iter().all(|&n| n == 0)
    }

    /// Moves each row's real tokens to the front, followed by zeros.
    ///
    /// Causal attention never reads later tokens, so no mask is needed.
    ///
    /// # Shapes
    ///
    /// - x, output: `[B, …]` with tokens in dimension `dim` ≥ 1
    pub(crate) fn to_front<const K: usize>(&self, x: Tensor<K>, dim: usize) -> Tensor<K> {
        self.shift(x, dim, |padding, real| (padding, real, 0, padding))
    }

    /// Undoes [`to_front`](Self::to_front): zeros before each row's real tokens.
    pub(crate) fn to_back<const K: usize>(&self, x: Tensor<K>, dim: usize) -> Tensor<K> {
        self.shift(x, dim, |padding, real| (0, real, padding, 0))
    }

    /// For each row, `plan(padding, real tokens)` gives the start and number of
    /// the kept tokens, and the number of zeros before and after them.
    fn shift<const K: usize>(
        &self,
        x: Tensor<K>,
        dim: usize,
        plan: impl Fn(usize, usize) -> (usize, usize, usize, usize),
    ) -> Tensor<K> {
        if self.is_none() {
            return x;
        }
        let tokens = x.dims()[dim];
        let zeros = |like: &Tensor<K>, count: usize| {
            let mut dims = like.dims();
            dims[dim] = count;
            Tensor::<K>::zeros(dims, (&like.device(), like.dtype()))
        };
        let rows = (0..x.dims()[0]).map(|row| {
            let padding = self.of_row(row).min(tokens);
            let (start, kept, before, behind) = plan(padding, tokens - padding);
            let line = x.clone().narrow(0, row, 1);
            let mut parts = Vec::with_capacity(3);
            if before > 0 {
                parts.push(zeros(&line, before));
            }
            if kept > 0 {
                parts.push(line.clone().narrow(dim, start, kept));
            }
            if behind > 0 {
                parts.push(zeros(&line, behind));
            }
            Tensor::cat(parts, dim)
        });
        Tensor::cat(rows.collect(), 0)
    }
}
