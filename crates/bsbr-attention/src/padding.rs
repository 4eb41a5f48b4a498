//! Left padding of the rows of a batch.

use burn::tensor::Tensor;

/// How many padding tokens stand before each row's first real token.
///
/// A padded row gives what it gets alone: its positions, sinks and chunk grid
/// start at its first real token, and padding is attended to by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Padding {
    left: Vec<usize>,
}

impl Padding {
    /// No padding in any row.
    pub fn none() -> Self {
        Self::default()
    }

    /// `left[b]` padding tokens stand before row b's first real token.
    pub fn left(left: Vec<usize>) -> Self {
        Self { left }
    }

    /// Padding tokens before row `row`; 0 for rows that were not named.
    pub fn of_row(&self, row: usize) -> usize {
        self.left.get(row).copied().unwrap_or(0)
    }

    /// Whether no row is padded.
    pub fn is_none(&self) -> bool {
        self.left.iter().all(|&n| n == 0)
    }

    /// Moves each row's real tokens to the front and fills up with zeros behind.
    ///
    /// Causal attention never looks behind, so no mask is needed afterwards.
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

    /// Per row, `plan(padding, real tokens)` says where the kept tokens start, how
    /// many they are, and how many zeros go before and behind them.
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
