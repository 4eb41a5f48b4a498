//! Dividing the keys of a chunk into clusters.
//!
//! Assignments carry no gradient, so they are computed on host slices on every
//! backend.

pub(crate) mod split;

use rayon::prelude::*;

use split::Split;

/// Cluster of every key, below `clusters`, of chunks of keys `[chunks, S, D]`.
///
/// A chunk's keys are halved log₂ `clusters` times. Each split cuts a group at
/// its mean, along the main axis of its keys. The splits form a binary tree: the
/// children of group g are groups 2g and 2g + 1 of the next level.
///
/// Every chunk uses the same operations in the same order, whatever the other
/// chunks and the number of threads.
///
/// # Panics
///
/// Panics if `clusters` is not a power of two, or if the keys are not whole
/// chunks.
pub fn split_into_clusters(keys: &[f32], [s, d]: [usize; 2], clusters: usize) -> Vec<u32> {
    assert!(
        clusters.is_power_of_two(),
        "split_into_clusters: {clusters} clusters are not a power of two"
    );
    if d == 0 || s == 0 {
        return Vec::new();
    }
    assert!(
        keys.len().is_multiple_of(s * d),
        "split_into_clusters: {} numbers are not chunks of {s} keys of {d}",
        keys.len()
    );
    let mut ids = vec![0; keys.len() / d];
    if clusters > 1 {
        ids.par_chunks_mut(s)
            .zip(keys.par_chunks(s * d))
            .for_each_init(Split::default, |split, (ids, keys)| {
                split.run(keys, d, clusters);
                let mut tokens = split.order().iter();
                for (cluster, &count) in split.counts().iter().enumerate() {
                    for &token in tokens.by_ref().take(count) {
                        ids[token] = cluster as u32;
                    }
                }
            });
    }
    ids
}

/// Merged cluster of every cluster, below `merged`, of spans of `m` clusters with mean keys
/// `[spans, m, D]` and `counts` of tokens `[spans, m]`.
///
/// The clusters of a span are split as the keys of a chunk are by [`split_into_clusters`], each
/// as one key, without empty clusters. These are in the first merged cluster.
///
/// # Panics
///
/// Panics if `merged` is not a power of two, or if the keys and counts are not whole spans.
pub fn merge_clusters(keys: &[f32], counts: &[f32], [m, d]: [usize; 2], merged: usize) -> Vec<u32> {
    assert!(
        merged.is_power_of_two(),
        "merge_clusters: {merged} clusters are not a power of two"
    );
    if d == 0 || m == 0 {
        return Vec::new();
    }
    assert!(
        keys.len() == counts.len() * d && counts.len().is_multiple_of(m),
        "merge_clusters: {} numbers and {} counts are not spans of {m} clusters of {d}",
        keys.len(),
        counts.len()
    );
    let mut ids = vec![0; counts.len()];
    ids.par_chunks_mut(m)
        .zip(keys.par_chunks(m * d).zip(counts.par_chunks(m)))
        .for_each_init(Merge::default, |merge, (ids, (keys, counts))| {
            merge.run(keys, |cluster| counts[cluster] > 0.0, d, merged);
            for (number, members) in merge.groups().enumerate() {
                for &cluster in members {
                    ids[cluster] = number as u32;
                }
            }
        });
    ids
}

/// Merging the clusters of one span, and buffers that are reused for the next one.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    split: Split,
    /// Mean keys of clusters that are not empty.
    keys: Vec<f32>,
    /// Their numbers, then in the order of merged clusters.
    present: Vec<usize>,
    order: Vec<usize>,
}

impl Merge {
    /// Merges clusters with mean keys `[m, D]`; `is_used` tells which are not empty.
    pub(crate) fn run(
        &mut self,
        keys: &[f32],
        is_used: impl Fn(usize) -> bool,
        d: usize,
        merged: usize,
    ) {
        let all = keys.chunks_exact(d).enumerate();
        self.keys.clear();
        self.present.clear();
        for (cluster, key) in all.filter(|(cluster, _)| is_used(*cluster)) {
            self.present.push(cluster);
            self.keys.extend_from_slice(key);
        }
        self.split.run(&self.keys, d, merged);
        self.order.clear();
        let order = self.split.order().iter();
        self.order.extend(order.map(|&number| self.present[number]));
    }

    /// The clusters of each merged cluster, without empty ones.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[usize]> {
        let mut rest = self.order.as_slice();
        self.split.counts().iter().map(move |&count| {
            let (members, later) = rest.split_at(count);
            rest = later;
            members
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two spans of four clusters: near 0 and near 9, with an empty cluster at 0 in each.
    #[test]
    fn near_clusters_are_merged_and_empty_ones_do_not_count() {
        let keys = [[9.0, 9.1], [0.0, 0.0], [9.1, 9.0], [8.9, 9.0]];
        let other = [[1.0, 0.0], [9.0, 9.0], [0.0, 0.0], [1.1, 0.1]];
        let keys = [keys, other].concat();
        let counts = [3.0, 0.0, 1.0, 7.0, 2.0, 1.0, 0.0, 2.0];
        let ids = merge_clusters(keys.as_flattened(), &counts, [4, 2], 2);
        // With the empty cluster, the others of the first span would be one merged cluster.
        assert_ne!((ids[0] == ids[2], ids[0] == ids[3]), (true, true));
        assert!(ids[4] == ids[7] && ids[5] != ids[4]);
        assert_eq!((ids[1], ids[6]), (0, 0));
    }

    #[test]
    fn spans_without_numbers_have_no_clusters() {
        assert!(merge_clusters(&[], &[], [4, 2], 2).is_empty());
        assert!(merge_clusters(&[], &[1.0], [1, 0], 2).is_empty());
    }
}
