//! Lists of the keys that each chunk sees, copied from one table of rows.

use std::ops::Range;

use bsbr_kernels::Grid;
use burn::tensor::{Int, Tensor, TensorData};

use crate::chunked::FarField;
use crate::joint::{self, Shared};
use crate::masks::HIDDEN;

/// Keys and values of all tokens, then, with a far field, those of all clusters and
/// one hidden key.
///
/// The lists of a group's chunks have equal length: the hidden key fills the places
/// of clusters that a chunk does not see.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    grid: Grid,
    /// `[B·H·R, D]`
    keys: Tensor<2>,
    /// `[B·H·R, D]`
    values: Tensor<2>,
    /// Whether the rows have one additional dimension, see [`joint::extended`].
    pub extended: bool,
    /// B, H, R, D
    dims: [usize; 4],
    /// N
    tokens: usize,
    /// G, 0 without a far field.
    clusters: usize,
}

impl Rows {
    /// # Shapes
    ///
    /// - key, value: `[B, H, N, D]`
    pub fn new(grid: &Grid, key: &Tensor<4>, value: &Tensor<4>, far: Option<&FarField>) -> Self {
        let [b, h, n, d] = key.dims();
        let (keys, values) = match far {
            None => (key.clone(), value.clone()),
            Some(far) => {
                let Shared {
                    keys, values, bias, ..
                } = &far.clusters;
                let k = keys.dims()[2];
                let options = (&key.device(), key.dtype());
                let hidden = Tensor::full([b, h, 1], HIDDEN, options);
                let bias = Tensor::cat(vec![bias.clone(), hidden], 2).unsqueeze_dim(3);
                let flags = Tensor::ones([b, h, k, 1], options);
                let table = |tokens: &Tensor<4>, clusters: &Tensor<4>| {
                    joint::extended(tokens.clone(), n + k + 1, 0.0)
                        .slice_assign([0..b, 0..h, n..n + k, 0..d], clusters.clone())
                };
                (
                    table(key, keys).slice_assign([0..b, 0..h, n..n + k + 1, d..d + 1], bias),
                    table(value, values).slice_assign([0..b, 0..h, n..n + k, d..d + 1], flags),
                )
            }
        };
        let dims = keys.dims();
        let flat = |x: Tensor<4>| x.reshape([dims[0] * dims[1] * dims[2], dims[3]]);
        Self {
            grid: *grid,
            keys: flat(keys),
            values: flat(values),
            extended: far.is_some(),
            dims,
            tokens: n,
            clusters: far.map_or(0, |far| far.of_chunk),
        }
    }

    /// The number of keys that a tail chunk sees if its group ends before `end`.
    pub fn width(&self, end: usize) -> usize {
        self.grid.sinks + end * self.clusters + self.grid.window()
    }

    /// The keys and values that the tail chunks of `group` see: sinks, clusters,
    /// window.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, c, width, D]` each
    pub fn of_group(&self, group: &Range<usize>) -> (Tensor<5>, Tensor<5>) {
        let nobody = self.tokens + (self.dims[2] - self.tokens).saturating_sub(1);
        let mut list = Vec::with_capacity(group.len() * self.width(group.end));
        for chunk in group.clone() {
            let seen = (chunk + 1) * self.clusters;
            list.extend(0..self.grid.sinks);
            list.extend((0..group.end * self.clusters).map(|cluster| {
                if cluster < seen {
                    self.tokens + cluster
                } else {
                    nobody
                }
            }));
            list.extend(self.window(chunk));
        }
        self.copied(group.len(), &list)
    }

    /// Only the windows of `group`.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, c, (P+1)·S, D]` each
    pub fn windows_of_group(&self, group: &Range<usize>) -> (Tensor<5>, Tensor<5>) {
        let list: Vec<_> = group.clone().flat_map(|chunk| self.window(chunk)).collect();
        self.copied(group.len(), &list)
    }

    /// Tokens of a tail chunk's window. Places after the sequence, which only
    /// queries after it would see, hold its last token.
    fn window(&self, chunk: usize) -> impl Iterator<Item = usize> + use<> {
        let start = self.grid.start_of(chunk + 1);
        let last = self.tokens - 1;
        (start..start + self.grid.window()).map(move |token| token.min(last))
    }

    fn copied(&self, chunks: usize, list: &[usize]) -> (Tensor<5>, Tensor<5>) {
        let [b, h, rows, d] = self.dims;
        let indices: Vec<i64> = (0..b * h)
            .flat_map(|head| list.iter().map(move |row| (head * rows + row) as i64))
            .collect();
        let count = indices.len();
        let device = self.keys.device();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device);
        let width = list.len() / chunks;
        let copy = |x: &Tensor<2>| {
            x.clone()
                .select(0, indices.clone())
                .reshape([b, h, chunks, width, d])
        };
        (copy(&self.keys), copy(&self.values))
    }
}
