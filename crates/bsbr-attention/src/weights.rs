//! Attention maps: the softmax weights of each query on tokens and clusters.

use bsbr_kernels::{Grid, Spans, round_to_bits};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::attention::{Attention, AttentionInput};
use crate::chunked::first_chunks;
use crate::clusters::Assignment;
use crate::config::{ArmConfig, MomentsConfig};
use crate::exact::best_of;
use crate::masks::{HIDDEN, VISIBLE, mask};
use crate::padding::Padding;
use crate::routing;
use crate::spans::{Merged, Opening};
use crate::summary::{StateForm, Summary};
use crate::tuning::Own;

/// The softmax weights of a forward pass.
///
/// `exact` and `clusters` together sum to one for every real token. The output of
/// states (F of the moments arm, and everything that the published arm retrieves)
/// is no average over tokens, so it has no weights here; `routing` gives the chunks
/// that it comes from.
///
/// Q is the number of queries: N, or as many as were chosen ([`Attention::weights_of`]). Use them
/// for inspection: memory grows with Q·N.
#[derive(Debug, Clone)]
pub struct AttentionWeights {
    /// Weights on tokens attended to exactly. `[B, H, Q, N]`
    pub exact: Tensor<4>,
    /// Weights on clusters, in the moments arm with a far chunk.
    pub clusters: Option<ClusterWeights>,
    /// w_cb: the share of chunk b's state in that of chunk c; rows of zeros if a
    /// chunk reads no state. `[B, H, C, C]`. In padded rows chunks count from the
    /// first real token.
    pub routing: Option<Tensor<4>>,
    /// Query–key pairs computed.
    pub pairs: Pairs,
}

/// Weights on the clusters of far chunks, K = F·G of them, in the order of chunks.
///
/// The weight on a merged cluster of a span is shared among its clusters by their tokens.
#[derive(Debug, Clone)]
pub struct ClusterWeights {
    /// `[B, H, Q, K]`
    pub weights: Tensor<4>,
    /// m: tokens of each cluster. `[B, H, K]`
    pub counts: Tensor<3>,
    /// Cluster of each token; −1 for tokens without a cluster. `[B, H, N]`
    pub assignment: Tensor<3, Int>,
}

/// The number of query–key pairs that a forward pass computes, over all heads and
/// the real tokens of all sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pairs {
    /// Pairs of a query and a token that it attends to exactly.
    pub exact: u64,
    /// Pairs of a query and a cluster or a merged one. Empty ones are included, except among the
    /// clusters of merged ones.
    pub clusters: u64,
    /// Pairs that dense attention would compute.
    pub dense: u64,
}

impl AttentionWeights {
    /// Weights on tokens, with each cluster's weight shared equally among its
    /// tokens.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, Q, N]`
    pub fn spread(&self) -> Tensor<4> {
        let Some(clusters) = &self.clusters else {
            return self.exact.clone();
        };
        let [b, h, queries, n] = self.exact.dims();
        let k = clusters.weights.dims()[3];
        let counts = clusters.counts.clone().clamp_min(1.0).unsqueeze_dim(2);
        let shares = clusters.weights.clone() / counts;
        let in_none = clusters.assignment.clone().lower_elem(0);
        let indices = clusters.assignment.clone().clamp(0, k as i64 - 1);
        let indices = indices.unsqueeze_dim::<4>(2).expand([b, h, queries, n]);
        let in_none = in_none.unsqueeze_dim::<4>(2).expand([b, h, queries, n]);
        self.exact.clone() + shares.gather(3, indices).mask_fill(in_none, 0.0)
    }
}

impl Attention {
    /// The weights on tokens and clusters in [`forward`](Self::forward).
    pub fn weights(&self, input: AttentionInput) -> AttentionWeights {
        let padding = input.padding.clone();
        let all: Vec<usize> = (0..input.query.dims()[2]).collect();
        let mut weights = self.weights_of(input, &all);
        weights.exact = padding.to_back(weights.exact, 2);
        weights.clusters = weights.clusters.map(|clusters| ClusterWeights {
            weights: padding.to_back(clusters.weights, 2),
            ..clusters
        });
        weights
    }

    /// The weights of these queries, Q positions below N, counted from the first real token of each
    /// sequence. Routing and pairs are those of all queries.
    pub fn weights_of(&self, input: AttentionInput, queries: &[usize]) -> AttentionWeights {
        let padding = input.padding.clone();
        let input = input.aligned();
        let [batch, heads, n, d] = input.query.dims();
        let real: Vec<usize> = (0..batch).map(|b| n - padding.of_row(b).min(n)).collect();
        let grid = self.config().grid();
        let moments = match self.config() {
            ArmConfig::Moments(config) => Some(config),
            _ => None,
        };
        let query = input.query.clone().cast(DType::F32) * input.scale;
        let keys = input.key.clone().cast(DType::F32);
        let keys = match self.config() {
            ArmConfig::Dense(config) => round_to_bits(keys, config.kv_bits),
            _ => keys,
        };
        let device = query.device();
        let seen = mask([queries.len(), n], &device, |query, key| {
            grid.attends(queries[query], key)
        });
        let places: Vec<i64> = queries.iter().map(|&query| query as i64).collect();
        let places = Tensor::from_data(TensorData::new(places, [queries.len()]), &device);
        let picked = |x: &Tensor<4>| x.clone().select(2, places.clone());
        let of_queries = picked(&query);
        let tokens = of_queries.clone().matmul(keys.swap_dims(2, 3)) + seen.unsqueeze::<4>();
        let far = moments
            .filter(|_| grid.far_chunks(n) > 0)
            .map(|config| Far::new(config, self.own(), &grid, &input, &query));

        let mut pairs = static_pairs(&grid, &real, heads, moments);
        let (exact, clusters) = match &far {
            None => (softmax(tokens, 3), None),
            Some(far) => {
                let clusters = [&far.logits, &far.chosen].map(picked);
                let (tokens, clusters) =
                    far.look_into_best(tokens, clusters, &of_queries, &input.key);
                let mut logits = vec![tokens, clusters];
                logits.extend(far.merged.as_ref().map(|(_, logits)| picked(logits)));
                let weights = softmax(Tensor::cat(logits, 3), 3);
                let k = far.logits.dims()[3];
                let mut on_clusters = weights.clone().narrow(3, n, k);
                if let Some((merged, logits)) = &far.merged {
                    let on_merged = weights.clone().narrow(3, n + k, logits.dims()[3]);
                    on_clusters = on_clusters + merged.shared(on_merged, &far.summary);
                }
                (weights.narrow(3, 0, n), Some(on_clusters))
            }
        };
        if let Some(far) = &far {
            pairs.exact += far.looked_into(&real);
            pairs.clusters += far.opened(&real);
        }
        let clusters = far
            .as_ref()
            .zip(clusters)
            .map(|(far, weights)| ClusterWeights {
                counts: far.summary.counts.clone().flatten(2, 3),
                weights,
                assignment: far.assignment_in(&padding, n),
            });
        let routing = match (self.config(), &self.routing) {
            (ArmConfig::Moments(config), learned) if config.state => far.as_ref().map(|far| {
                let chunks = far.summary.chunks();
                let before = grid.far_from(0) - 1;
                let (receivers, offers) = match learned {
                    None => (
                        every(query, before, grid.chunk_size, chunks),
                        far.summary.mean_key(),
                    ),
                    Some(routing) => {
                        let hidden = input.hidden_states.unsqueeze_dim(1);
                        let last = every(hidden.clone(), before, grid.chunk_size, chunks);
                        let mean = first_chunks(&grid, &hidden, chunks).mean_dim(3);
                        (
                            routing.receivers(last.squeeze_dim(1), heads) * input.scale,
                            routing.summaries(mean.squeeze_dims(&[1, 3]), heads),
                        )
                    }
                };
                let w = routing::triangular_weights(receivers, offers, 1.0);
                square(w, grid.near_chunks + 1)
            }),
            (ArmConfig::Published(config), Some(routing)) if grid.far_chunks(n) > 0 => {
                let (chunks, size) = (grid.far_chunks(n), config.chunk_size);
                let hidden = input.hidden_states.unsqueeze_dim(1);
                let last = every(hidden, size - 1, size, chunks).squeeze_dim(1);
                let receivers = routing.receivers(Tensor::clone(&last), heads);
                let summaries = routing.summaries(last, heads);
                let scale = 1.0 / (d as f64).sqrt();
                Some(square(
                    routing::triangular_weights(receivers, summaries, scale),
                    1,
                ))
            }
            _ => None,
        };
        AttentionWeights {
            exact: padding.to_back(exact, 3),
            clusters,
            routing,
            pairs,
        }
    }
}

/// Far field of the maps: logits of every query for every cluster.
struct Far<'a> {
    config: &'a MomentsConfig,
    grid: Grid,
    summary: Summary,
    assignment: Assignment,
    /// With ln m and mask. `[B, H, N, F·G]`
    logits: Tensor<4>,
    /// 1 for the clusters that a query looks up. `[B, H, N, F·G]`
    chosen: Tensor<4>,
    /// The merged clusters of spans, and their logits. `[B, H, N, T·G]`
    merged: Option<(Merged, Tensor<4>)>,
}

impl<'a> Far<'a> {
    fn new(
        config: &'a MomentsConfig,
        own: Own<'_>,
        grid: &Grid,
        input: &AttentionInput,
        query: &Tensor<4>,
    ) -> Self {
        let chunks = grid.far_chunks(query.dims()[2]);
        let [keys, values] = [&input.key, &input.value].map(|x| first_chunks(grid, x, chunks));
        let assignment = Assignment::split(&keys, config.clusters);
        let summary = Summary::build(keys, values, &assignment, StateForm::Off)
            .kept_in(config.kv_bits.of_means());
        let score = |summary: &Summary, seen: &dyn Fn(usize) -> usize| {
            let keys = config.as_keys(own, summary, DType::F32);
            let size = [query.dims()[2], keys.keys.dims()[2]];
            let hidden = mask(size, &query.device(), |token, cluster| {
                cluster < seen(grid.far_of_token(token)) * config.clusters
            });
            let logits = query.clone().matmul(keys.keys.swap_dims(2, 3));
            logits + keys.bias.unsqueeze_dim::<4>(2) + hidden.unsqueeze::<4>()
        };
        let logits = score(&summary, &|far| far);
        let (logits, merged) = match config.merge(&summary) {
            None => (logits, None),
            Some(merged) => {
                let of_merged = score(&merged.summary, &|far| config.spans().of(far));
                let (of_merged, logits) = opened(config, grid, of_merged, logits, &merged);
                (logits, Some((merged, of_merged)))
            }
        };
        let chosen = match config.exact_clusters {
            0 => logits.zeros_like(),
            best => {
                let best = best_of(logits.clone().unsqueeze_dim(2), best);
                config.only_looked_up(best.squeeze_dim::<4>(2))
            }
        };
        Self {
            config,
            grid: *grid,
            summary,
            assignment,
            logits,
            chosen,
            merged,
        }
    }

    /// The clusters of opened merged ones that a query sees, over the `real` first queries of each
    /// sequence.
    fn opened(&self, real: &[usize]) -> u64 {
        let Some((merged, _)) = &self.merged else {
            return 0;
        };
        let spanned = merged.spans() * merged.clusters_of_span();
        let visible = self.logits.clone().narrow(3, 0, spanned);
        let visible = visible.greater_elem(VISIBLE).float();
        // Earlier queries see these clusters without opening anything.
        let in_span = self.in_spans(spanned, &visible);
        self.sum(visible * in_span, real)
    }

    /// 1 where a query sees the span of a cluster. `[1, 1, N, spanned]`
    fn in_spans(&self, spanned: usize, like: &Tensor<4>) -> Tensor<4> {
        let of_span = self.config.span * self.config.clusters;
        let hidden = mask(
            [like.dims()[2], spanned],
            &like.device(),
            |token, cluster| {
                cluster < self.config.spans().of(self.grid.far_of_token(token)) * of_span
            },
        );
        hidden.equal_elem(0.0).float().unsqueeze()
    }

    /// Token logits including the tokens of the chosen clusters, and cluster logits
    /// without those clusters.
    fn look_into_best(
        &self,
        tokens: Tensor<4>,
        [logits, chosen]: [Tensor<4>; 2],
        query: &Tensor<4>,
        key: &Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        if self.config.exact_clusters == 0 {
            return (tokens, logits);
        }
        let [b, h, queries, n] = tokens.dims();
        let [_, _, chunks, size] = self.assignment.dims();
        let g = self.config.clusters;
        let of_far: Tensor<4> = chosen
            .clone()
            .reshape([b, h, queries, chunks, g])
            .swap_dims(2, 3)
            .matmul(self.assignment.membership(&query.device()))
            .swap_dims(2, 3)
            .reshape([b, h, queries, chunks * size]);
        let behind = n - self.grid.sinks - chunks * size;
        let zeros = |width: usize| Tensor::zeros([b, h, queries, width], &query.device());
        let mut parts = Vec::with_capacity(3);
        if self.grid.sinks > 0 {
            parts.push(zeros(self.grid.sinks));
        }
        parts.push(of_far);
        if behind > 0 {
            parts.push(zeros(behind));
        }
        let looked_at = Tensor::cat(parts, 3).greater_elem(0.5);
        let keys = key.clone().cast(DType::F32);
        let unmasked = query
            .clone()
            .matmul(round_to_bits(keys, self.config.kv_bits).swap_dims(2, 3));
        (
            tokens.mask_where(looked_at, unmasked),
            logits.mask_fill(chosen.greater_elem(0.5), HIDDEN),
        )
    }

    /// Tokens in chosen clusters, over the `real` first queries of each sequence.
    fn looked_into(&self, real: &[usize]) -> u64 {
        let [b, h, _, k] = self.chosen.dims();
        let counts = self.summary.counts.clone().reshape([b, h, 1, k]);
        self.sum(self.chosen.clone() * counts, real)
    }

    /// The sum of whole numbers over the `real` first queries of each sequence. `[B, H, N, ..]`
    fn sum(&self, numbers: Tensor<4>, real: &[usize]) -> u64 {
        let [_, h, n, _] = numbers.dims();
        let numbers: Vec<f64> = numbers.sum_dim(3).into_data().iter::<f64>().collect();
        numbers
            .chunks(n.max(1))
            .enumerate()
            .map(|(row, queries)| queries[..real[row / h]].iter().sum::<f64>() as u64)
            .sum()
    }

    /// Cluster of each token in the padded rows. `[B, H, N]`
    fn assignment_in(&self, padding: &Padding, n: usize) -> Tensor<3, Int> {
        let [b, h, chunks, size] = self.assignment.dims();
        let g = self.config.clusters;
        let far = chunks * size;
        let mut places = vec![-1i64; b * h * n];
        for (head, ids) in self.assignment.ids().chunks(far.max(1)).enumerate() {
            let first = padding.of_row(head / h) + self.grid.sinks;
            for (token, id) in ids.iter().enumerate().take(n.saturating_sub(first)) {
                places[head * n + first + token] = (token / size * g) as i64 + i64::from(*id);
            }
        }
        let device = self.logits.device();
        Tensor::from_data(TensorData::new(places, [b, h, n]), &device)
    }
}

/// Logits of merged clusters `[B, H, N, T·G]` and of clusters `[B, H, N, F·G]`, without the merged
/// ones that a query opens, and the clusters whose merged one it sees.
fn opened(
    config: &MomentsConfig,
    grid: &Grid,
    of_merged: Tensor<4>,
    logits: Tensor<4>,
    merged: &Merged,
) -> (Tensor<4>, Tensor<4>) {
    let (n, k, width) = (logits.dims()[2], of_merged.dims()[3], logits.dims()[3]);
    let far = (0..n).map(|token| grid.far_of_token(token));
    let spans: Vec<usize> = far.map(|far| config.spans().of(far)).collect();
    let opening = Opening {
        merged,
        spans: &spans,
    };
    let all = Tensor::cat(vec![of_merged, logits], 3);
    let all: Tensor<4> = opening.open(all.unsqueeze_dim(3), 0).squeeze_dim(3);
    (all.clone().narrow(3, 0, k), all.narrow(3, k, width))
}

/// Pairs that do not depend on the data.
fn static_pairs(
    grid: &Grid,
    real: &[usize],
    heads: usize,
    config: Option<&MomentsConfig>,
) -> Pairs {
    let (clusters, spans) = config.map_or((0, Spans::NONE), |c| (c.clusters, c.spans()));
    let mut pairs = Pairs::default();
    for token in real.iter().flat_map(|&real| 0..real) {
        let far = grid.far_of_token(token);
        pairs.dense += token as u64 + 1;
        pairs.exact += (token + 1 - far * grid.chunk_size) as u64;
        let merged = spans.of(far);
        pairs.clusters += ((far - merged * spans.chunks + merged) * clusters) as u64;
    }
    let heads = heads as u64;
    Pairs {
        exact: pairs.exact * heads,
        clusters: pairs.clusters * heads,
        dense: pairs.dense * heads,
    }
}

/// Rows `first`, `first + step`, … of dimension 2, `count` of them.
fn every(x: Tensor<4>, first: usize, step: usize, count: usize) -> Tensor<4> {
    let rows = (0..count).map(|i| x.clone().narrow(2, first + i * step, 1));
    Tensor::cat(rows.collect(), 2)
}

/// `[B, H, F, F]` → `[B, H, F + before, F + before]`: zeros for the first `before`
/// receivers and the last `before` senders.
fn square(w: Tensor<4>, before: usize) -> Tensor<4> {
    let [b, h, f, _] = w.dims();
    let device = w.device();
    let right = Tensor::zeros([b, h, f, before], &device);
    let above = Tensor::zeros([b, h, before, f + before], &device);
    Tensor::cat(vec![above, Tensor::cat(vec![w, right], 3)], 2)
}
