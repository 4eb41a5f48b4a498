//! The spans in a head's cache.

use crate::block_attention::kept::{KeptRows, Lie};
use crate::block_attention::merged;
use crate::block_attention::settings::KvBits;
use crate::clusters::Merge;

/// The merged clusters of spans, and their clusters.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    /// Mean keys and values of merged clusters. `[T·G, D]`
    pub(super) means: [KeptRows; 2],
    /// Mean keys and values of clusters, merged cluster by merged cluster, without empty ones.
    pub(super) members: [KeptRows; 2],
    /// The numbers of these clusters.
    pub(super) order: Vec<u32>,
    /// The end of each merged cluster's clusters. `[T·G]`
    pub(super) ends: Vec<u32>,
}

/// Buffers.
#[derive(Default)]
pub(super) struct Scratch {
    merge: Merge,
    /// The clusters of a span. `[K·G, D]`
    rows: [Vec<f32>; 2],
    mean: Vec<f32>,
}

impl Spans {
    /// No spans, for `d` dimensions.
    pub(super) fn new(d: usize, of_means: KvBits) -> Self {
        let kept = |lie| KeptRows::new(d, of_means, lie);
        Self {
            means: [kept(Lie::Rows), kept(Lie::Rows)],
            members: [kept(Lie::Columns), kept(Lie::Rows)],
            order: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.means.iter().chain(&self.members).map(KeptRows::bytes);
        kept.sum::<usize>() + 4 * (self.order.len() + self.ends.len())
    }

    /// The clusters of a merged one.
    pub(super) fn clusters(&self, merged: usize) -> &[u32] {
        &self.order[merged::range(&self.ends, merged)]
    }

    /// Merges the clusters of a span into `merged`. They start with number `first`, and are removed
    /// from `means`, of which they are the first; `counts` has their numbers of tokens.
    pub(super) fn add(
        &mut self,
        means: &mut [KeptRows; 2],
        first: usize,
        counts: &[usize],
        merged: usize,
        scratch: &mut Scratch,
    ) {
        let Scratch { merge, rows, mean } = scratch;
        let d = means[0].width();
        for (rows, means) in rows.iter_mut().zip(&*means) {
            rows.resize(counts.len() * d, 0.0);
            means.decode(0..counts.len(), rows);
        }
        let count = |cluster: usize| counts[cluster];
        merge.run(&rows[0], |cluster| count(cluster) > 0, d, merged);
        mean.resize(d, 0.0);
        for members in merge.groups() {
            let order = members.iter().map(|&cluster| (first + cluster) as u32);
            self.order.extend(order);
            self.ends.push(self.order.len() as u32);
            let sides = self.members.iter_mut().zip(&mut self.means);
            let from = means.iter().zip(&*rows);
            for ((of_members, of_merged), (means, rows)) in sides.zip(from) {
                of_members.push_rows(means, members);
                mean.fill(0.0);
                merged::average(rows, members, count, mean);
                of_merged.push(mean);
            }
        }
        for means in means {
            means.drop_first(counts.len());
        }
    }
}
