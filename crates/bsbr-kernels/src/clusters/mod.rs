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
            .for_each_init(Split::new, |split, (ids, keys)| {
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
