//! Spans of far chunks, whose clusters are merged.
//!
//! A query replaces its best merged clusters by their clusters. The merging carries no gradient,
//! the means of merged clusters do.

use bsbr_kernels::merge_clusters;
use burn::tensor::{DType, Tensor, TensorData};

use crate::cache::bytes_of;
use crate::config::MomentsConfig;
use crate::exact::best_of;
use crate::masks::HIDDEN;
use crate::summary::Summary;

/// The merged clusters of spans.
#[derive(Debug, Clone)]
pub(crate) struct Merged {
    /// Of each span, as of a chunk.
    pub summary: Summary,
    /// 1 where a cluster belongs to a merged one. `[B, H, T, G, K·G]`
    membership: Tensor<5>,
    /// K
    chunks: usize,
    /// w
    opened: usize,
}

impl MomentsConfig {
    /// The merged clusters of all whole spans of chunks, if there are any.
    pub(crate) fn merge(&self, chunks: &Summary) -> Option<Merged> {
        let spans = self.spans().of(chunks.chunks());
        if spans == 0 {
            return None;
        }
        let [b, h, _, g, d] = chunks.keys.dims();
        let of_span = self.span * g;
        let of_spans = |x: &Tensor<5>| {
            let d = x.dims()[4];
            let whole = x.clone().narrow(2, 0, spans * self.span);
            whole.reshape([b, h, spans, of_span, d])
        };
        let (keys, values) = (of_spans(&chunks.keys), of_spans(&chunks.values));
        let counts = of_spans(&chunks.counts.clone().unsqueeze_dim(4));
        let numbers = |x: &Tensor<5>| -> Vec<f32> {
            let x = x.clone().without_autodiff().cast(DType::F32);
            x.into_data().iter::<f32>().collect()
        };
        let of_cluster = numbers(&counts);
        let ids = merge_clusters(&numbers(&keys), &of_cluster, [of_span, d], g);
        let mut membership = vec![0.0f32; ids.len() * g];
        for (cluster, &id) in ids.iter().enumerate() {
            let merged = cluster / of_span * g + id as usize;
            membership[merged * of_span + cluster % of_span] = 1.0;
        }
        let shape = [b, h, spans, g, of_span];
        let membership = Tensor::from_data(TensorData::new(membership, shape), &keys.device());
        let totals = membership.clone().matmul(counts.clone());
        let shares = membership.clone() * counts.swap_dims(3, 4) / totals.clone().clamp_min(1.0);
        let summary = Summary {
            counts: totals.squeeze_dim(4),
            keys: shares.clone().matmul(keys),
            values: shares.matmul(values),
            state: None,
        };
        Some(Merged {
            summary: summary.kept_in(self.kv_bits.of_means()),
            membership,
            chunks: self.span,
            opened: self.opened,
        })
    }

    /// The merged clusters of the last span of chunks, if the last chunk ends one.
    pub(crate) fn merge_last(&self, chunks: &Summary) -> Option<Merged> {
        let all = chunks.chunks();
        if self.span == 0 || all == 0 || !all.is_multiple_of(self.span) {
            return None;
        }
        let last = |x: &Tensor<5>| x.clone().narrow(2, all - self.span, self.span);
        self.merge(&Summary {
            counts: chunks.counts.clone().narrow(2, all - self.span, self.span),
            keys: last(&chunks.keys),
            values: last(&chunks.values),
            state: None,
        })
    }
}

impl Merged {
    /// T, the number of spans.
    pub fn spans(&self) -> usize {
        self.summary.chunks()
    }

    /// The number of spans of the first `far` chunks.
    pub fn of(&self, far: usize) -> usize {
        far / self.chunks
    }

    /// K·G, the clusters of a span.
    pub fn clusters_of_span(&self) -> usize {
        self.membership.dims()[4]
    }

    /// Weights on merged clusters, shared among their clusters by their tokens. `chunks` are the
    /// clusters of all chunks.
    ///
    /// # Shapes
    ///
    /// - weights: `[B, H, N, T·G]`
    /// - output: `[B, H, N, F·G]`
    pub fn shared(&self, weights: Tensor<4>, chunks: &Summary) -> Tensor<4> {
        let [b, h, n, _] = weights.dims();
        let [_, _, spans, g, of_span] = self.membership.dims();
        let all = chunks.chunks() * chunks.clusters();
        let spanned = spans * of_span;
        let counts = chunks.counts.clone().reshape([b, h, all]);
        let counts = counts
            .narrow(2, 0, spanned)
            .reshape([b, h, spans, 1, of_span]);
        let totals = self.summary.counts.clone().clamp_min(1.0).unsqueeze_dim(4);
        let shares = self.membership.clone() * counts / totals;
        let weights: Tensor<4> = weights
            .reshape([b, h, n, spans, g])
            .swap_dims(2, 3)
            .matmul(shares)
            .swap_dims(2, 3)
            .reshape([b, h, n, spanned]);
        if spanned == all {
            return weights;
        }
        let rest = Tensor::zeros([b, h, n, all - spanned], &weights.device());
        Tensor::cat(vec![weights, rest], 3)
    }

    /// Appends later spans.
    pub fn append(self, later: Self) -> Self {
        Self {
            summary: self.summary.append(later.summary),
            membership: Tensor::cat(vec![self.membership, later.membership], 2),
            ..self
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.summary.bytes() + bytes_of(&self.membership)
    }
}

/// The spans that the queries of some chunks see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub merged: &'a Merged,
    /// The number of spans that the queries of each chunk see, in ascending order.
    pub spans: &'a [usize],
}

impl Opening<'_> {
    /// The number of spans that the queries of any chunk see.
    fn most(&self) -> usize {
        self.spans.last().copied().unwrap_or(0)
    }

    /// The number of their merged clusters.
    pub fn width(&self) -> usize {
        self.most() * self.merged.summary.clusters()
    }

    /// Hides the merged clusters that each query opens, and the clusters of the others.
    ///
    /// `logits` begin with `sinks` sinks and the merged clusters, which are hidden where a query
    /// does not see them. Then follow the clusters of all chunks.
    ///
    /// # Shapes
    ///
    /// - logits, output: `[B, H, c, n, sinks + T·G + F·G]`
    pub fn open(&self, logits: Tensor<5>, sinks: usize) -> Tensor<5> {
        let (spans, merged) = (self.most(), self.width());
        if spans == 0 {
            return logits;
        }
        let [b, h, c, n, width] = logits.dims();
        let [_, _, _, g, of_span] = self.merged.membership.dims();
        let spanned = spans * of_span;
        let of_merged = logits.clone().narrow(4, sinks, merged);
        let opened = best_of(of_merged.clone(), self.merged.opened);
        // Clusters of opened merged ones.
        let left: Tensor<5> = opened
            .clone()
            .reshape([b, h, c * n, spans, g])
            .swap_dims(2, 3)
            .matmul(self.merged.membership.clone().narrow(2, 0, spans))
            .swap_dims(2, 3)
            .reshape([b, h, c, n, spanned]);
        let is_seen: Vec<f32> = self
            .spans
            .iter()
            .flat_map(|&seen| {
                (0..spanned).map(move |cluster| f32::from(u8::from(cluster / of_span < seen)))
            })
            .collect();
        let is_seen = TensorData::new(is_seen, [1, 1, c, 1, spanned]);
        let is_seen = Tensor::<5>::from_data(is_seen, &left.device());
        let hidden = (is_seen - left).greater_elem(0.5);
        let of_merged = of_merged.mask_fill(opened.greater_elem(0.5), HIDDEN);
        let first = sinks + merged;
        let of_spans = logits.clone().narrow(4, first, spanned);
        let mut parts = vec![of_merged, of_spans.mask_fill(hidden, HIDDEN)];
        if sinks > 0 {
            parts.insert(0, logits.clone().narrow(4, 0, sinks));
        }
        if width > first + spanned {
            parts.push(logits.narrow(4, first + spanned, width - first - spanned));
        }
        Tensor::cat(parts, 4)
    }
}
