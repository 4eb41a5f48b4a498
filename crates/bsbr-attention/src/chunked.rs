//! A sequence divided into chunks, and attention over sinks, far field and near
//! field for many chunks at once.

use std::ops::Range;

use burn::tensor::{Tensor, s};

use crate::dense;
use crate::exact::FarTokens;
use crate::joint::{self, Attended, Shared, Window};
use crate::masks::{later_clusters, next_group};
use crate::rows::Rows;
use crate::spans::{Merged, Opening};
use bsbr_kernels::Grid;

/// Far field of a whole sequence: the keys beyond sinks and near field.
#[derive(Debug, Clone)]
pub(crate) struct FarField {
    /// F·G clusters, in the order of chunks.
    pub clusters: Shared,
    /// G
    pub of_chunk: usize,
    /// The addition to the output per unit of cluster mass. `[B, H, F, S, D]`
    pub correction: Option<Tensor<5>>,
    /// Tokens of the far chunks, if queries look up their best clusters.
    pub tokens: Option<FarTokens>,
    /// T·G merged clusters, in the order of spans, if there are spans.
    pub merged: Option<(Shared, Merged)>,
}

/// Queries, keys and values of a sequence on its chunk grid.
///
/// The first sinks + (P+1)·S tokens, the *head*, see all earlier tokens, as in
/// dense attention. The chunks after them, the *tail*, have a far field: tail chunk
/// i is chunk P + 1 + i and sees the summaries of chunks `0..=i`.
#[derive(Debug, Clone)]
pub(crate) struct Chunked {
    grid: Grid,
    scale: f64,
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
}

impl Chunked {
    /// # Shapes
    ///
    /// - query, key, value: `[B, H, N, D]`
    pub fn new(grid: Grid, [query, key, value]: [Tensor<4>; 3], scale: f64) -> Self {
        Self {
            grid,
            scale,
            query,
            key,
            value,
        }
    }

    /// σ
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// F: the number of tail chunks, and of chunks that are far from the last one.
    pub fn far_chunks(&self) -> usize {
        self.grid.far_chunks(self.tokens())
    }

    fn tokens(&self) -> usize {
        self.query.dims()[2]
    }

    fn head_tokens(&self) -> usize {
        self.grid.far_from(0).min(self.tokens())
    }

    /// Keys and values of the far chunks.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, F, S, D]` each
    pub fn far_tokens(&self) -> (Tensor<5>, Tensor<5>) {
        (self.far(&self.key), self.far(&self.value))
    }

    /// The part of `x` for the tokens of the far chunks.
    ///
    /// # Shapes
    ///
    /// - x: `[B, H, N, D]`, of any number of heads and dimensions
    /// - output: `[B, H, F, S, D]`
    pub fn far(&self, x: &Tensor<4>) -> Tensor<5> {
        first_chunks(&self.grid, x, self.far_chunks())
    }

    /// r_c of the tail chunks: the query of the last token before each.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, F, D]`
    pub fn receivers(&self) -> Tensor<4> {
        self.before_tail(&self.query)
    }

    /// The part of `x` for the last token before each tail chunk.
    ///
    /// # Shapes
    ///
    /// - x: `[B, H, N, D]`, of any number of heads and dimensions
    /// - output: `[B, H, F, D]`
    pub fn before_tail(&self, x: &Tensor<4>) -> Tensor<4> {
        let before = self.head_tokens() - 1..self.tokens() - 1;
        let every = self.grid.chunk_size as isize;
        x.clone().slice_dim(2, s![before;every])
    }

    /// Queries of the tail, followed by zeros.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, F, S, D]`
    pub fn tail_query(&self) -> Tensor<5> {
        self.queries(&(0..self.far_chunks()))
    }

    /// Attention output of every token.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, N, D]`, laid out as `[B, N, H, D]`
    pub fn attend(&self, far: Option<&FarField>) -> Tensor<4> {
        let first = |x: &Tensor<4>| x.clone().narrow(2, 0, self.head_tokens());
        let head = dense::attend(
            first(&self.query),
            first(&self.key),
            first(&self.value),
            self.scale,
        );
        if self.far_chunks() == 0 {
            return head;
        }
        // Concatenated token by token, the layout that merging the heads expects.
        let mut parts = vec![head.swap_dims(1, 2)];
        parts.extend(self.attend_tail(far));
        Tensor::cat(parts, 1).swap_dims(1, 2)
    }

    /// Outputs of the tail, `[B, n, H, D]` each.
    fn attend_tail(&self, far: Option<&FarField>) -> Vec<Tensor<4>> {
        let chunks = self.far_chunks();
        let [b, h, _, d] = self.query.dims();
        let size = self.grid.chunk_size;
        let rows = Rows::new(&self.grid, &self.key, &self.value, far);
        let keys = |end: usize| {
            let tokens = far.is_some_and(|f| f.tokens.is_some());
            rows.width(end) + if tokens { end * size } else { 0 }
        };
        let tracked = self.query.is_autodiff();
        let mut outputs = Vec::new();
        let mut start = 0;
        while start < chunks {
            let group = next_group(start, chunks, b * h * size, tracked, keys);
            let attended = match far {
                Some(far) if far.tokens.is_some() || far.merged.is_some() => {
                    self.looking_into_best(&group, far)
                }
                _ => self.fused(&group, &rows),
            };
            let correction = far.and_then(|f| f.correction.as_ref());
            let output = match correction.zip(attended.cluster_mass) {
                None => attended.output,
                Some((correction, mass)) => {
                    attended.output + correction.clone().narrow(2, start, group.len()) * mass
                }
            };
            let tokens = self.tokens_of(&group);
            let output = output
                .reshape([b, h, group.len() * size, d])
                .swap_dims(1, 2);
            outputs.push(output.narrow(1, 0, tokens.len()));
            start = group.end;
        }
        outputs
    }

    /// Tokens of the tail chunks of `group`; the last chunk may be partial.
    fn tokens_of(&self, group: &Range<usize>) -> Range<usize> {
        let (head, size) = (self.head_tokens(), self.grid.chunk_size);
        head + group.start * size..(head + group.end * size).min(self.tokens())
    }

    /// `[B, H, c, S, D]`
    fn queries(&self, group: &Range<usize>) -> Tensor<5> {
        let [b, h, _, d] = self.query.dims();
        let (tokens, size) = (self.tokens_of(group), self.grid.chunk_size);
        let query = self.query.clone().narrow(2, tokens.start, tokens.len());
        filled_up(query, group.len() * size).reshape([b, h, group.len(), size, d])
    }

    /// The chunks of `group` by the kernel.
    fn fused(&self, group: &Range<usize>, rows: &Rows) -> Attended {
        let [b, h, _, d] = self.query.dims();
        let (c, size) = (group.len(), self.grid.chunk_size);
        let (keys, values) = rows.of_group(group);
        if !rows.extended {
            return Attended {
                output: joint::fused(self.queries(group), keys, values, self.scale),
                cluster_mass: None,
            };
        }
        let tokens = self.tokens_of(group);
        let query = self.query.clone().narrow(2, tokens.start, tokens.len());
        let query = joint::extended(query, c * size, joint::unit(self.scale)).reshape([
            b,
            h,
            c,
            size,
            d + 1,
        ]);
        let output = joint::fused(query, keys, values, self.scale);
        Attended {
            output: output.clone().narrow(4, 0, d),
            cluster_mass: Some(output.narrow(4, d, 1)),
        }
    }

    /// The chunks of `group`, with each query's choice of merged clusters and clusters.
    fn looking_into_best(&self, group: &Range<usize>, far: &FarField) -> Attended {
        let device = self.query.device();
        let (sinks, g) = (self.grid.sinks, far.of_chunk);
        let of_chunk = |chunk: usize| far.merged.as_ref().map_or(0, |(_, all)| all.of(chunk));
        let spans = of_chunk(group.end);
        let all = far.merged.as_ref().filter(|_| spans > 0);
        let mut shared = far.clusters.first(group.end * g);
        if let Some((merged, _)) = all {
            shared = merged.first(spans * g).followed_by(shared);
        }
        if sinks > 0 {
            let first = |x: &Tensor<4>| x.clone().narrow(2, 0, sinks);
            let [b, h, ..] = self.key.dims();
            let of_sinks = Shared {
                keys: first(&self.key),
                values: first(&self.value),
                bias: Tensor::zeros([b, h, sinks], (&device, self.key.dtype())),
                sinks,
            };
            shared = of_sinks.followed_by(shared);
        }
        let of_group: Vec<_> = group.clone().map(|chunk| of_chunk(chunk + 1)).collect();
        let merged: Vec<_> = of_group.iter().map(|spans| spans * g).collect();
        let hidden = later_clusters(group, sinks, &merged, g, &device);
        let near = Rows::new(&self.grid, &self.key, &self.value, None);
        let (keys, values) = near.windows_of_group(group);
        joint::plain(
            self.queries(group) * self.scale,
            Some(&shared),
            Some(hidden.cast(self.query.dtype())),
            all.map(|(_, merged)| Opening {
                merged,
                spans: &of_group,
            }),
            Window { keys, values },
            far.tokens
                .as_ref()
                .map(|tokens| tokens.first(group.end))
                .as_ref(),
        )
    }
}

/// The part of `x` for the tokens of the first chunks.
///
/// # Shapes
///
/// - x: `[B, H, N, D]`, of any number of heads and dimensions
/// - output: `[B, H, chunks, S, D]`
pub(crate) fn first_chunks(grid: &Grid, x: &Tensor<4>, chunks: usize) -> Tensor<5> {
    let [b, h, _, d] = x.dims();
    x.clone()
        .narrow(2, grid.sinks, chunks * grid.chunk_size)
        .reshape([b, h, chunks, grid.chunk_size, d])
}

/// `x` followed by zeros, up to `total` tokens. `[B, H, n, D]` → `[B, H, total, D]`
fn filled_up(x: Tensor<4>, total: usize) -> Tensor<4> {
    let [b, h, n, d] = x.dims();
    if n == total {
        return x;
    }
    let zeros = Tensor::zeros([b, h, total - n, d], (&x.device(), x.dtype()));
    Tensor::cat(vec![x, zeros], 2)
}
