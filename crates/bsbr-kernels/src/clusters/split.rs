//! The splits of one chunk.

use crate::cpu::math::{row_dot, vectorised};

/// Rounds of power iteration that find the main axis.
const POWER_ITERATIONS: usize = 3;

/// Buffers of a chunk's splits, to be used again for the next chunk.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// Keys minus the mean of their group. `[S, D]`
    centred: Vec<f32>,
    /// `[G, D]`
    means: Vec<f32>,
    counts: Vec<f32>,
    /// Main axis of each group. `[G, D]`
    axes: Vec<f32>,
    next_axes: Vec<f32>,
    /// Square distance and number of each group's token farthest from its mean.
    farthest: Vec<(f32, usize)>,
}

impl Split {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Writes the cluster of each of the keys `[S, D]`.
    pub(crate) fn run(&mut self, keys: &[f32], d: usize, clusters: usize, ids: &mut [u32]) {
        self.centred.resize(keys.len(), 0.0);
        for rows in [&mut self.means, &mut self.axes, &mut self.next_axes] {
            rows.resize(clusters * d, 0.0);
        }
        self.counts.resize(clusters, 0.0);
        self.farthest.resize(clusters, (0.0, usize::MAX));
        ids.fill(0);
        vectorised(
            #[inline(always)]
            || {
                let mut groups = 1;
                while groups < clusters {
                    self.halve(keys, d, groups, ids);
                    groups *= 2;
                }
            },
        );
    }

    /// Splits each of `groups` groups in two: group g becomes 2g and 2g + 1.
    #[inline(always)]
    fn halve(&mut self, keys: &[f32], d: usize, groups: usize, ids: &mut [u32]) {
        self.centre(keys, d, groups, ids);
        self.start_at_farthest(d, groups, ids);
        for _ in 0..POWER_ITERATIONS {
            self.iterate(d, groups, ids);
        }
        for (x, id) in self.centred.chunks_exact(d).zip(ids) {
            let axis = row(&self.axes, *id, d);
            *id = 2 * *id + u32::from(row_dot(x, axis) > 0.0);
        }
    }

    #[inline(always)]
    fn centre(&mut self, keys: &[f32], d: usize, groups: usize, ids: &[u32]) {
        self.means[..groups * d].fill(0.0);
        self.counts[..groups].fill(0.0);
        for (key, &id) in keys.chunks_exact(d).zip(ids) {
            add_scaled(row_mut(&mut self.means, id, d), key, 1.0);
            self.counts[id as usize] += 1.0;
        }
        for (mean, &count) in self.means.chunks_exact_mut(d).zip(&self.counts[..groups]) {
            let inverse = 1.0 / if count > 1.0 { count } else { 1.0 };
            mean.iter_mut().for_each(
                #[inline(always)]
                |m| *m *= inverse,
            );
        }
        let rows = self.centred.chunks_exact_mut(d).zip(keys.chunks_exact(d));
        for ((x, key), &id) in rows.zip(ids) {
            let mean = row(&self.means, id, d);
            for ((x, key), mean) in x.iter_mut().zip(key).zip(mean) {
                *x = key - mean;
            }
        }
    }

    #[inline(always)]
    fn start_at_farthest(&mut self, d: usize, groups: usize, ids: &[u32]) {
        self.farthest[..groups].fill((0.0, usize::MAX));
        for (token, (x, &id)) in self.centred.chunks_exact(d).zip(ids).enumerate() {
            let distance = row_dot(x, x);
            if distance > self.farthest[id as usize].0 {
                self.farthest[id as usize] = (distance, token);
            }
        }
        for group in 0..groups {
            let (distance, token) = self.farthest[group];
            let axis = row_mut(&mut self.axes, group as u32, d);
            if token == usize::MAX {
                axis.fill(0.0);
            } else {
                axis.copy_from_slice(row(&self.centred, token as u32, d));
                normalise(axis, distance);
            }
        }
    }

    /// One power iteration: a ← Σ_j x_j (x_j·a), normalised.
    #[inline(always)]
    fn iterate(&mut self, d: usize, groups: usize, ids: &[u32]) {
        self.next_axes[..groups * d].fill(0.0);
        for (x, &id) in self.centred.chunks_exact(d).zip(ids) {
            let along = row_dot(x, row(&self.axes, id, d));
            add_scaled(row_mut(&mut self.next_axes, id, d), x, along);
        }
        for group in 0..groups as u32 {
            let axis = row_mut(&mut self.next_axes, group, d);
            let square = row_dot(axis, axis);
            normalise(axis, square);
        }
        std::mem::swap(&mut self.axes, &mut self.next_axes);
    }
}

#[inline(always)]
fn row(rows: &[f32], index: u32, d: usize) -> &[f32] {
    &rows[index as usize * d..][..d]
}

#[inline(always)]
fn row_mut(rows: &mut [f32], index: u32, d: usize) -> &mut [f32] {
    &mut rows[index as usize * d..][..d]
}

/// Scales `axis`, whose square is `square`, to length 1; one of length 0 stays so.
#[inline(always)]
fn normalise(axis: &mut [f32], square: f32) {
    let inverse = if square > 0.0 {
        1.0 / square.sqrt()
    } else {
        0.0
    };
    for a in axis {
        *a *= inverse;
    }
}

#[inline(always)]
fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(keys: &[[f32; 2]], clusters: usize) -> Vec<u32> {
        let mut ids = vec![0; keys.len()];
        Split::new().run(keys.as_flattened(), 2, clusters, &mut ids);
        ids
    }

    #[test]
    fn an_outlier_gets_a_cluster_of_its_own() {
        let ids = split(
            &[[0.0, 0.1], [0.1, 0.0], [9.0, 9.0], [0.0, 0.0], [0.1, 0.1]],
            2,
        );
        assert!(
            ids.iter()
                .enumerate()
                .all(|(i, id)| (*id == ids[2]) == (i == 2))
        );
    }

    #[test]
    fn equal_keys_stay_together() {
        let ids = split(&[[0.3, 0.7]; 6], 8);
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn four_corners_become_four_clusters() {
        let mut ids = split(&[[0.0, 0.0], [0.0, 3.0], [5.0, 0.0], [5.0, 3.0]], 4);
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3]);
    }

    #[test]
    fn keys_without_spread_or_of_any_size_are_split_without_overflow() {
        for scale in [0.0, 1e-30, 1e15] {
            let keys = [[1.0, 2.0], [3.0, 5.0], [-4.0, 0.5]].map(|k| k.map(|x| x * scale));
            assert!(split(&keys, 4).iter().all(|id| *id < 4));
        }
    }
}
