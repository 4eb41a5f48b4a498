//! The passes composed of a backend's own operations, for any backend.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, Slice, TensorData, read_sync};

use super::rounding::round_rows;
use super::{BlockAttention, BlockStatesPrimitive, KvBits};
use crate::clusters::{merge_clusters, split_into_clusters};

/// Added to hidden scores: finite, so no NaN can arise.
pub(super) const HIDDEN: f32 = -1e30;

/// The far chunks of a sequence.
struct Far<B: Backend> {
    /// F
    chunks: usize,
    /// Cluster of every token, over `[B, H, F, S]`; counted within its chunk.
    ids: Vec<u32>,
    /// Keys and values of the tokens. `[B, H, F, S, D]`
    tokens: [FloatTensor<B>; 2],
    /// 1 if a token is in a cluster, else 0. `[B, H, F, G, S]`
    members: FloatTensor<B>,
    /// Mean keys and values of the clusters. `[B, H, F, G, D]`
    means: [FloatTensor<B>; 2],
    /// m, over `[B, H, F, G]`
    counts: Vec<f32>,
    /// ln m, or [`HIDDEN`] for empty clusters. `[B, H, 1, F·G]`
    bias: FloatTensor<B>,
}

/// The merged clusters of spans.
struct Merged<B: Backend> {
    /// Merged cluster of every cluster in a span, over `[B, H, T, K·G]`; counted within its span.
    ids: Vec<u32>,
    /// Mean keys and values. `[B, H, T·G, D]`
    means: [FloatTensor<B>; 2],
    /// ln m, or [`HIDDEN`] for empty ones. `[B, H, 1, T·G]`
    bias: FloatTensor<B>,
}

/// Output `[B, H, N, D]` and log-sum-exp of every query's scores `[B, H, N]`. Half precision is
/// computed in single precision.
pub(super) fn forward<B: Backend>(
    inputs: [FloatTensor<B>; 3],
    states: BlockStatesPrimitive<B>,
    settings: BlockAttention,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let runs = settings.levels.runs(inputs[0].shape()[1]);
    if runs.len() > 1 {
        let parts = runs.into_iter().map(|(first, len)| {
            let inputs = inputs.clone().map(|x| narrow::<B>(x, 1, first, len));
            let states = states.clone().map(|x| narrow::<B>(x, 0, first, len));
            forward::<B>(inputs, states, settings.of_head(first), scale)
        });
        let (outs, sums) = parts.unzip();
        return (B::float_cat(outs, 1), B::float_cat(sums, 1));
    }
    let settings = settings.of_head(0);
    let dtype = inputs[0].dtype();
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return in_own_type::<B>(inputs, states, settings, scale);
    }
    let single = |x: FloatTensor<B>| B::float_cast(x, FloatDType::F32);
    let (inputs, states) = (inputs.map(single), states.map(single));
    let (out, lse) = in_own_type::<B>(inputs, states, settings, scale);
    let [out, lse] = [out, lse].map(|x| B::float_cast(x, FloatDType::from(dtype)));
    (out, lse)
}

fn in_own_type<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    states: BlockStatesPrimitive<B>,
    settings: BlockAttention,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = q.shape();
    let [b, h, n, _] = [shape[0], shape[1], shape[2], shape[3]];
    let per_query = |x: FloatTensor<B>| B::float_reshape(x, Shape::from([b, h, n]));
    if shape.num_elements() == 0 {
        let lse = zeros::<B>(&q, [b, h, n]);
        return (q, lse);
    }
    let q = B::float_mul_scalar(q, scale.into());
    let of_tokens = B::float_matmul(q.clone(), B::float_swap_dims(k.clone(), 2, 3));
    let chunks = settings.grid.far_chunks(n);
    if chunks == 0 || settings.clusters == 0 {
        let seen = |_: usize, query: usize, key: usize| settings.grid.attends(query, key);
        let mask = mask::<B>([1, n, n], seen, &of_tokens);
        let (weights, lse) = softmax::<B>(B::float_add(of_tokens, mask));
        return (B::float_matmul(weights, v), per_query(lse));
    }

    let far = Far::<B>::new([&k, &v], &settings, chunks);
    let width = chunks * settings.clusters;
    let [mean_keys, mean_values] = far.means.clone().map(|means: FloatTensor<B>| {
        let d = means.shape()[4];
        let means = B::float_reshape(means, Shape::from([b, h, width, d]));
        rounded::<B>(means, settings.kv_bits.of_means())
    });
    let merged = Merged::<B>::new(&far, [&mean_keys, &mean_values], &settings);
    let of_merged = merged.as_ref().map(|merged| merged.score(&q, &settings));
    let of_clusters = B::float_matmul(q.clone(), B::float_swap_dims(mean_keys, 2, 3));
    let of_clusters = B::float_add(of_clusters, far.bias.clone());
    let is_far = |_: usize, query: usize, cluster: usize| {
        cluster / settings.clusters < settings.grid.far_of_token(query)
    };
    let of_clusters = B::float_add(
        of_clusters.clone(),
        mask::<B>([1, n, width], is_far, &of_clusters),
    );
    let (of_merged, of_clusters) = match merged.as_ref().zip(of_merged) {
        None => (None, of_clusters),
        Some((merged, scores)) => {
            let (of_merged, of_clusters) = merged.open(scores, of_clusters, &settings);
            (Some(of_merged), of_clusters)
        }
    };

    let chosen = choose(
        host::<B>(of_clusters.clone()),
        width,
        settings.exact_clusters,
    );
    let looked_up =
        |head: usize, query: usize, cluster: usize| chosen[(head * n + query) * width + cluster];
    let seen = |_: usize, query: usize, key: usize| settings.grid.attends(query, key);
    let of_tokens = B::float_add(of_tokens.clone(), mask::<B>([1, n, n], seen, &of_tokens));
    // The tokens of far chunks again, rounded as stored.
    let kept = chunks * settings.grid.chunk_size;
    let [kept_keys, kept_values] = [&k, &v].map(|x| {
        let far = narrow::<B>(x.clone(), 2, settings.grid.sinks, kept);
        rounded::<B>(far, settings.kv_bits)
    });
    let of_kept = B::float_matmul(q.clone(), B::float_swap_dims(kept_keys, 2, 3));
    let found = |head: usize, query: usize, key: usize| {
        looked_up(head, query, far.cluster_of(&settings, head, key))
    };
    let kept_mask = mask::<B>([b * h, n, kept], found, &of_kept);
    let left = |head: usize, query: usize, cluster: usize| !looked_up(head, query, cluster);
    let clusters_mask = mask::<B>([b * h, n, width], left, &of_clusters);
    let per_head =
        |mask: FloatTensor<B>, keys: usize| B::float_reshape(mask, Shape::from([b, h, n, keys]));
    let mut scores = vec![
        of_tokens,
        B::float_add(of_clusters, per_head(clusters_mask, width)),
        B::float_add(of_kept, per_head(kept_mask, kept)),
    ];
    scores.extend(of_merged);
    let (weights, lse) = softmax::<B>(B::float_cat(scores, 3));
    let on_clusters = narrow::<B>(weights.clone(), 3, n, width);
    let out = B::float_add(
        B::float_matmul(narrow::<B>(weights.clone(), 3, 0, n), v),
        B::float_matmul(on_clusters.clone(), mean_values),
    );
    let on_kept = narrow::<B>(weights.clone(), 3, n + width, kept);
    let out = B::float_add(out, B::float_matmul(on_kept, kept_values));
    let mass = B::float_sum_dim(on_clusters, 3);
    let (out, mass) = match merged {
        None => (out, mass),
        Some(Merged { means, .. }) => {
            let [_, values] = means;
            let on_merged = narrow::<B>(weights, 3, n + width + kept, values.shape()[2]);
            (
                B::float_add(out, B::float_matmul(on_merged.clone(), values)),
                B::float_add(mass, B::float_sum_dim(on_merged, 3)),
            )
        }
    };
    let out = match far.read_states(q, states, &settings) {
        None => out,
        Some(read) => B::float_add(out, B::float_mul(read, mass)),
    };
    (out, per_query(lse))
}

/// Gradients of q, k, v and of the bases, by recomputing [`forward`] with its own graph.
pub(super) fn backward<B: Backend>(
    inputs: [FloatTensor<B>; 3],
    states: BlockStatesPrimitive<B>,
    grad: FloatTensor<B>,
    settings: BlockAttention,
    scale: f64,
) -> (
    FloatTensor<B>,
    FloatTensor<B>,
    FloatTensor<B>,
    BlockStatesPrimitive<B>,
) {
    let of_none = |x: &FloatTensor<B>| zeros::<B>(x, x.shape());
    if inputs[0].shape().num_elements() == 0 {
        let [q, k, v] = inputs.each_ref().map(of_none);
        return (q, k, v, states.map(|basis| of_none(&basis)));
    }
    let leaf = |x: FloatTensor<B>| {
        let x = <Autodiff<B> as AutodiffBackend>::from_inner(x);
        Autodiff::<B>::float_set_require_grad(x, true)
    };
    let [q, k, v] = inputs.map(leaf);
    let states = states.map(leaf);
    let inputs = [q.clone(), k.clone(), v.clone()];
    let (out, _) = forward::<Autodiff<B>>(inputs, states.clone(), settings, scale);
    let grad = <Autodiff<B> as AutodiffBackend>::from_inner(grad);
    let sum = Autodiff::<B>::float_sum(Autodiff::<B>::float_mul(out, grad));
    let mut grads = <Autodiff<B> as AutodiffBackend>::backward(sum);
    let mut of = |x: FloatTensor<Autodiff<B>>| {
        let found = <Autodiff<B> as AutodiffBackend>::grad_remove(&x, &mut grads);
        found.unwrap_or_else(|| of_none(&<Autodiff<B> as AutodiffBackend>::inner(x)))
    };
    (of(q), of(k), of(v), states.map(of))
}

impl<B: Backend> Far<B> {
    fn new([k, v]: [&FloatTensor<B>; 2], settings: &BlockAttention, chunks: usize) -> Self {
        let shape = k.shape();
        let [b, h, d] = [shape[0], shape[1], shape[3]];
        let (s, g) = (settings.grid.chunk_size, settings.clusters);
        let tokens = [k, v].map(|x| {
            let far = narrow::<B>(x.clone(), 2, settings.grid.sinks, chunks * s);
            B::float_reshape(far, Shape::from([b, h, chunks, s, d]))
        });
        let ids = split_into_clusters(&host::<B>(tokens[0].clone()), [s, d], g);
        let mut members = vec![0.0; ids.len() * g];
        let mut counts = vec![0.0f32; b * h * chunks * g];
        for (token, &id) in ids.iter().enumerate() {
            let cluster = token / s * g + id as usize;
            members[cluster * s + token % s] = 1.0;
            counts[cluster] += 1.0;
        }
        let shares: Vec<f32> = counts.iter().map(|m| 1.0 / m.max(1.0)).collect();
        let members = tensor::<B>(members, [b, h, chunks, g, s], k);
        let shares = tensor::<B>(shares, [b, h, chunks, g, 1], k);
        let bias = tensor::<B>(log_counts(&counts), [b, h, 1, chunks * g], k);
        let means = tokens.clone().map(|x| {
            let sums = B::float_matmul(members.clone(), x);
            B::float_mul(sums, shares.clone())
        });
        Self {
            chunks,
            ids,
            tokens,
            members,
            means,
            counts,
            bias,
        }
    }

    /// Cluster of a far token, both as indices from the first far chunk.
    fn cluster_of(&self, settings: &BlockAttention, head: usize, token: usize) -> usize {
        let s = settings.grid.chunk_size;
        let id = self.ids[head * self.chunks * s + token];
        token / s * settings.clusters + id as usize
    }

    /// q S of every token, `q` being scaled. `[B, H, N, D]`
    fn read_states(
        &self,
        q: FloatTensor<B>,
        states: BlockStatesPrimitive<B>,
        settings: &BlockAttention,
    ) -> Option<FloatTensor<B>> {
        let shape = q.shape();
        let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
        let [keys, values] = self.tokens.clone();
        let means = B::float_matmul(
            B::float_swap_dims(self.members.clone(), 3, 4),
            self.means[0].clone(),
        );
        let centred = B::float_swap_dims(B::float_sub(keys.clone(), means), 3, 4);
        let share = 1.0 / settings.grid.chunk_size as f64;
        let whole = B::float_mul_scalar(B::float_matmul(centred, values), share.into());
        let whole = match states {
            BlockStatesPrimitive::Off => return None,
            BlockStatesPrimitive::Whole => whole,
            BlockStatesPrimitive::Compressed { key, value } => {
                // U_k U_kᵀ F U_v U_vᵀ
                let [left, right] = [key, value].map(|basis: FloatTensor<B>| {
                    let r = basis.shape()[2];
                    let basis = B::float_reshape(basis, Shape::from([1, h, 1, d, r]));
                    B::float_matmul(basis.clone(), B::float_swap_dims(basis, 3, 4))
                });
                B::float_matmul(B::float_matmul(left, whole), right)
            }
        };
        let wide = B::float_reshape(q.clone(), Shape::from([b, h, 1, n, d]));
        // What every token would read from every chunk. [B, H, F, N, D]
        let read = B::float_matmul(wide, whole);

        // The last token before the chunk of each; sinks read nothing.
        let starts = (0..n).map(|token| settings.grid.chunk_of(token));
        let starts = starts.map(|chunk| chunk.map_or(0, |chunk| settings.grid.start_of(chunk)));
        let rows = starts.map(|start| start.saturating_sub(1));
        let receivers = rows.map(|row| narrow::<B>(q.clone(), 2, row, 1)).collect();
        let h_b = B::float_mean_dim(keys, 3);
        let h_b = B::float_reshape(h_b, Shape::from([b, h, self.chunks, d]));
        let scores = B::float_matmul(B::float_cat(receivers, 2), B::float_swap_dims(h_b, 2, 3));
        let visible =
            |_: usize, query: usize, chunk: usize| chunk < settings.grid.far_of_token(query);
        let hidden = mask::<B>([1, n, self.chunks], visible, &scores);
        // Tokens without a far field have no mass on clusters, so their result has weight zero.
        let (weights, _) = softmax::<B>(B::float_add(scores, hidden));
        let weights = B::float_swap_dims(weights, 2, 3);
        let weights = B::float_reshape(weights, Shape::from([b, h, self.chunks, n, 1]));
        let sum = B::float_sum_dim(B::float_mul(read, weights), 2);
        Some(B::float_reshape(sum, Shape::from([b, h, n, d])))
    }
}

impl<B: Backend> Merged<B> {
    /// Merges the clusters with these mean keys and values `[B, H, F·G, D]`, if any chunks are in
    /// a span.
    fn new(far: &Far<B>, means: [&FloatTensor<B>; 2], settings: &BlockAttention) -> Option<Self> {
        let spans = settings.spans.of(far.chunks);
        if spans == 0 {
            return None;
        }
        let shape = means[0].shape();
        let [b, h, d] = [shape[0], shape[1], shape[3]];
        let (g, width) = (settings.clusters, far.chunks * settings.clusters);
        let of_span = settings.spans.chunks * g;
        let all = far.counts.chunks(width);
        let counts: Vec<f32> = all
            .flat_map(|head| &head[..spans * of_span])
            .copied()
            .collect();
        let means = means.map(|x| narrow::<B>(x.clone(), 2, 0, spans * of_span));
        let keys = host::<B>(means[0].clone());
        let ids = merge_clusters(&keys, &counts, [of_span, d], g);

        let merged = b * h * spans * g;
        let mut totals = vec![0.0f32; merged];
        for (cluster, (&id, count)) in ids.iter().zip(&counts).enumerate() {
            totals[cluster / of_span * g + id as usize] += count;
        }
        let mut shares = vec![0.0; merged * of_span];
        for (cluster, (&id, count)) in ids.iter().zip(&counts).enumerate() {
            let merged = cluster / of_span * g + id as usize;
            shares[merged * of_span + cluster % of_span] = count / totals[merged].max(1.0);
        }
        let bias = tensor::<B>(log_counts(&totals), [b, h, 1, spans * g], &means[0]);
        let shares = tensor::<B>(shares, [b, h, spans, g, of_span], &means[0]);
        let means = means.map(|x| {
            let x = B::float_reshape(x, Shape::from([b, h, spans, of_span, d]));
            let means = B::float_matmul(shares.clone(), x);
            let means = B::float_reshape(means, Shape::from([b, h, spans * g, d]));
            rounded::<B>(means, settings.kv_bits.of_means())
        });
        Some(Self { ids, means, bias })
    }

    /// Scores of the merged clusters, hidden where a query does not see them. `[B, H, N, T·G]`
    fn score(&self, q: &FloatTensor<B>, settings: &BlockAttention) -> FloatTensor<B> {
        let keys = B::float_swap_dims(self.means[0].clone(), 2, 3);
        let scores = B::float_add(B::float_matmul(q.clone(), keys), self.bias.clone());
        let shape = scores.shape();
        let is_seen = |_: usize, query: usize, merged: usize| {
            merged / settings.clusters < settings.spans.of(settings.grid.far_of_token(query))
        };
        let mask = mask::<B>([1, shape[2], shape[3]], is_seen, &scores);
        B::float_add(scores, mask)
    }

    /// Hides the merged clusters that a query opens, and the clusters of those that it sees, but
    /// does not open.
    fn open(
        &self,
        of_merged: FloatTensor<B>,
        of_clusters: FloatTensor<B>,
        settings: &BlockAttention,
    ) -> (FloatTensor<B>, FloatTensor<B>) {
        let shape = of_merged.shape();
        let [b, h, n, merged] = [shape[0], shape[1], shape[2], shape[3]];
        let width = of_clusters.shape()[3];
        let (g, of_span) = (settings.clusters, settings.spans.chunks * settings.clusters);
        let all = host::<B>(of_merged.clone());
        let opened = choose(all, merged, settings.spans.opened);
        let is_opened =
            |head: usize, query: usize, number: usize| opened[(head * n + query) * merged + number];
        let is_left = |head: usize, query: usize, cluster: usize| {
            let span = cluster / of_span;
            if span >= settings.spans.of(settings.grid.far_of_token(query)) {
                return true;
            }
            let id = self.ids[head * merged / g * of_span + cluster] as usize;
            is_opened(head, query, span * g + id)
        };
        let closed = |head: usize, query: usize, number: usize| !is_opened(head, query, number);
        let hidden = |mask: FloatTensor<B>, x: FloatTensor<B>| {
            let shape = x.shape();
            B::float_add(x, B::float_reshape(mask, shape))
        };
        let of_merged_mask = mask::<B>([b * h, n, merged], closed, &of_merged);
        let of_clusters_mask = mask::<B>([b * h, n, width], is_left, &of_clusters);
        (
            hidden(of_merged_mask, of_merged),
            hidden(of_clusters_mask, of_clusters),
        )
    }
}

/// ln m, or [`HIDDEN`] for empty clusters.
fn log_counts(counts: &[f32]) -> Vec<f32> {
    let log = |&m: &f32| if m > 0.0 { m.ln() } else { HIDDEN };
    counts.iter().map(log).collect()
}

/// The clusters that each row of scores looks up: the `best` highest; ties go to the first, and
/// hidden ones are never chosen.
fn choose(scores: Vec<f32>, width: usize, best: usize) -> Vec<bool> {
    let mut chosen = vec![false; scores.len()];
    if best == 0 {
        return chosen;
    }
    for (scores, chosen) in scores.chunks(width).zip(chosen.chunks_mut(width)) {
        let mut order: Vec<_> = (0..width).filter(|&i| scores[i] > HIDDEN / 10.0).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        for &cluster in order.iter().take(best) {
            chosen[cluster] = true;
        }
    }
    chosen
}

/// Rows of the last axis rounded to fewer bits; the gradient passes through unchanged.
fn rounded<B: Backend>(x: FloatTensor<B>, bits: KvBits) -> FloatTensor<B> {
    if bits == KvBits::ThirtyTwo {
        return x;
    }
    let shape = x.shape();
    let before = host::<B>(x.clone());
    let mut after = before.clone();
    round_rows(&mut after, shape[shape.num_dims() - 1], bits);
    let moved = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let moved = tensor::<B>(moved, shape, &x);
    B::float_add(x, moved)
}

/// 0 where `seen(head, query, key)`, else [`HIDDEN`].
fn mask<B: Backend>(
    [heads, queries, keys]: [usize; 3],
    seen: impl Fn(usize, usize, usize) -> bool,
    like: &FloatTensor<B>,
) -> FloatTensor<B> {
    let mut mask = Vec::with_capacity(heads * queries * keys);
    for head in 0..heads {
        for query in 0..queries {
            mask.extend((0..keys).map(|key| if seen(head, query, key) { 0.0 } else { HIDDEN }));
        }
    }
    tensor::<B>(mask, [1, heads, queries, keys], like)
}

fn tensor<B: Backend>(
    data: Vec<f32>,
    shape: impl Into<Shape>,
    like: &FloatTensor<B>,
) -> FloatTensor<B> {
    let data = TensorData::new(data, shape.into());
    let dtype = FloatDType::from(like.dtype());
    B::float_cast(B::float_from_data(data, &like.device()), dtype)
}

fn zeros<B: Backend>(like: &FloatTensor<B>, shape: impl Into<Shape>) -> FloatTensor<B> {
    let dtype = FloatDType::from(like.dtype());
    B::float_zeros(shape.into(), &like.device(), dtype)
}

/// Elements of a tensor, without gradient; empty if they cannot be read.
fn host<B: Backend>(x: FloatTensor<B>) -> Vec<f32> {
    match read_sync(B::float_into_data(x)) {
        Ok(data) => data.iter::<f32>().collect(),
        Err(_) => Vec::new(),
    }
}

fn narrow<B: Backend>(x: FloatTensor<B>, dim: usize, start: usize, len: usize) -> FloatTensor<B> {
    let mut slices: Vec<_> = x.shape().iter().map(|&size| Slice::from(0..size)).collect();
    slices[dim] = Slice::from(start..start + len);
    B::float_slice(x, &slices)
}

/// softmax over the last of four dimensions, and log-sum-exp.
pub(super) fn softmax<B: Backend>(scores: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let max = B::float_detach(B::float_max_dim(scores.clone(), 3));
    let exp = B::float_exp(B::float_sub(scores, max.clone()));
    let sum = B::float_sum_dim(exp.clone(), 3);
    let lse = B::float_add(B::float_log(sum.clone()), max);
    (B::float_div(exp, sum), lse)
}
