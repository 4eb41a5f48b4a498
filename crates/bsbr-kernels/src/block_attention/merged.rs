//! The merged clusters of a head's spans, and their clusters in the layout of lookups.

use std::ops::Range;

use super::BlockAttention;
use super::rounding::round_rows;
use super::summarise::log_count;
use super::tile::BEHIND;
use super::tokens::{Side, side_by_side};
use crate::clusters::Merge;
use crate::cpu::math::vectorised;

/// The merged cluster of an empty cluster.
const NONE: u32 = u32::MAX;

/// The merged clusters of all spans of a head.
#[derive(Debug, Default)]
pub(super) struct Merged {
    d: usize,
    /// Mean keys and values. `[T·G, D]`
    pub(super) means: [Vec<f32>; 2],
    /// log₂ m, or `-inf` for empty ones. `[T·G]`
    pub(super) bias: Vec<f32>,
    /// The clusters in the order of merged clusters, without empty ones.
    order: Vec<u32>,
    /// The end of each merged cluster in that order. `[T·G]`
    ends: Vec<u32>,
    /// The merged cluster of each cluster, or [`NONE`], and its share of its tokens.
    shares: Vec<(u32, f32)>,
    /// Mean keys of clusters by dimension, merged cluster by merged cluster, and their mean
    /// values, each followed by [`BEHIND`] numbers.
    sides: [Vec<f32>; 2],
}

impl Merged {
    /// Merges the clusters with these mean keys and values `[F·G, D]`; `count` tells the number
    /// of tokens of each.
    pub(super) fn new(
        settings: &BlockAttention,
        [keys, values]: [&[f32]; 2],
        count: impl Fn(usize) -> usize,
        d: usize,
    ) -> Self {
        let (g, of_span) = (settings.clusters, settings.spans.chunks * settings.clusters);
        let mut all = Self {
            d,
            ..Self::default()
        };
        let mut merge = Merge::default();
        let spans = keys.len().checked_div(of_span * d).unwrap_or(0);
        let size = spans * of_span * d + BEHIND;
        all.shares = vec![(NONE, 0.0); spans * of_span];
        all.sides = [(); 2].map(|()| Vec::with_capacity(size));
        for span in 0..spans {
            let first = span * of_span;
            let rows = first * d..(first + of_span) * d;
            let [keys, values] = [keys, values].map(|x| &x[rows.clone()]);
            let count = |cluster: usize| count(first + cluster);
            merge.run(keys, |cluster| count(cluster) > 0, d, g);
            for members in merge.groups() {
                all.add(first, members, [keys, values], count);
            }
        }
        for means in &mut all.means {
            round_rows(means, d, settings.kv_bits.of_means());
        }
        for side in &mut all.sides {
            side.resize(side.len() + BEHIND, 0.0);
        }
        all
    }

    /// Adds a merged cluster: some clusters of a span, whose clusters start at number `first`.
    fn add(
        &mut self,
        first: usize,
        members: &[usize],
        rows: [&[f32]; 2],
        count: impl Fn(usize) -> usize,
    ) {
        let d = self.d;
        let number = self.order.len();
        let order = members.iter().map(|&cluster| (first + cluster) as u32);
        self.order.extend(order);
        self.ends.push(self.order.len() as u32);
        let total = members.iter().map(|&cluster| count(cluster)).sum();
        self.bias.push(log_count(total));
        let merged = self.ends.len() as u32 - 1;
        for &cluster in members {
            let share = count(cluster) as f32 / total.max(1) as f32;
            self.shares[first + cluster] = (merged, share);
        }
        let mut gathered = vec![0.0; members.len() * d];
        for (side, rows) in rows.into_iter().enumerate() {
            for (to, &cluster) in gathered.chunks_exact_mut(d).zip(members) {
                to.copy_from_slice(&rows[cluster * d..][..d]);
            }
            let at = self.means[side].len();
            self.means[side].resize(at + d, 0.0);
            average(rows, members, &count, &mut self.means[side][at..]);
            let to = &mut self.sides[side];
            to.resize((number + members.len()) * d, 0.0);
            let to = &mut to[number * d..];
            match side {
                0 => side_by_side(&gathered, d, to),
                _ => to.copy_from_slice(&gathered),
            }
        }
    }

    /// The clusters of a merged one.
    pub(super) fn clusters(&self, merged: usize) -> &[u32] {
        &self.order[range(&self.ends, merged)]
    }

    /// The merged cluster of a cluster in a span, and its share of its tokens.
    pub(super) fn share(&self, cluster: usize) -> Option<(usize, f32)> {
        let (merged, share) = *self.shares.get(cluster)?;
        (merged != NONE).then_some((merged as usize, share))
    }

    /// Mean keys (`of` = 0) or values (1) of the clusters of a merged one.
    pub(super) fn side(&self, of: usize, merged: usize) -> Side<'_> {
        let Range { start, end } = range(&self.ends, merged);
        Side {
            numbers: &self.sides[of][start * self.d..end * self.d + BEHIND],
            grids: None,
        }
    }
}

/// A merged cluster's part of the order whose parts end at `ends`.
pub(super) fn range(ends: &[u32], merged: usize) -> Range<usize> {
    let start = merged.checked_sub(1).map_or(0, |before| ends[before]);
    start as usize..ends[merged] as usize
}

/// The mean of some rows, weighted by their counts.
pub(super) fn average(
    rows: &[f32],
    members: &[usize],
    count: impl Fn(usize) -> usize,
    mean: &mut [f32],
) {
    let d = mean.len();
    let total: usize = members.iter().map(|&cluster| count(cluster)).sum();
    vectorised(
        #[inline(always)]
        || {
            for &cluster in members {
                let share = count(cluster) as f32 / total.max(1) as f32;
                for (mean, x) in mean.iter_mut().zip(&rows[cluster * d..][..d]) {
                    *mean += share * x;
                }
            }
        },
    );
}
