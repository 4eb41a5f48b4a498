//! Splitting the keys of a chunk into clusters.
//!
//! A chunk's tokens are split in two, log₂G times over. The axis of a split is the
//! main axis of the group's keys, the cut is at their mean. The splits form a
//! binary tree: the children of group g are groups 2g and 2g + 1 of the next level.
//!
//! Assignments carry no gradient, so they are computed on host slices: every
//! chunk by the same operations in the same order, whatever the batch around it,
//! which makes streamed and parallel assignments equal bit for bit.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

/// Rounds of power iteration that find the main axis.
const POWER_ITERATIONS: usize = 3;

/// Independent sums that a dot product is split into, for vector registers.
const LANES: usize = 16;

/// Which cluster each token of each chunk belongs to.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Cluster per token, row-major over `[B, H, C, S]`; below G.
    ids: Vec<u32>,
    /// `[B, H, C, S]`
    dims: [usize; 4],
    /// G
    clusters: usize,
}

impl Assignment {
    /// Splits every chunk of `keys` into `clusters`, a power of two.
    ///
    /// # Shapes
    ///
    /// - keys: `[B, H, C, S, D]`
    pub fn split(keys: &Tensor<5>, clusters: usize) -> Self {
        let [b, h, c, s, d] = keys.dims();
        let mut ids = vec![0; b * h * c * s];
        if clusters > 1 && !ids.is_empty() && d > 0 {
            let data = keys.clone().without_autodiff().cast(DType::F32).into_data();
            if let Ok(keys) = data.as_slice::<f32>() {
                ids.par_chunks_mut(s)
                    .zip(keys.par_chunks(s * d))
                    .for_each(|(ids, keys)| split_chunk(keys, d, clusters, ids));
            }
        }
        Self {
            ids,
            dims: [b, h, c, s],
            clusters,
        }
    }

    /// Cluster of every token, row-major over `[B, H, C, S]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// `[B, H, C, S]`
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// m: how many tokens each cluster has, row-major over `[B, H, C, G]`.
    pub fn counts(&self) -> Vec<f32> {
        let [b, h, c, s] = self.dims;
        let mut counts = vec![0.0; b * h * c * self.clusters];
        for (ids, counts) in self
            .ids
            .chunks(s.max(1))
            .zip(counts.chunks_mut(self.clusters))
        {
            for &id in ids {
                counts[id as usize] += 1.0;
            }
        }
        counts
    }

    /// 1 where a token belongs to a cluster, else 0.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, C, G, S]`
    pub fn membership(&self, device: &Device) -> Tensor<5> {
        let [b, h, c, s] = self.dims;
        let g = self.clusters;
        let mut membership = vec![0.0f32; b * h * c * g * s];
        for (ids, rows) in self.ids.chunks(s.max(1)).zip(membership.chunks_mut(g * s)) {
            for (token, &id) in ids.iter().enumerate() {
                rows[id as usize * s + token] = 1.0;
            }
        }
        Tensor::from_data(TensorData::new(membership, [b, h, c, g, s]), device)
    }
}

/// Splits one chunk; `ids` comes in as zeros.
fn split_chunk(keys: &[f32], d: usize, clusters: usize, ids: &mut [u32]) {
    let mut split = Split::new(keys.len(), d, clusters);
    let mut groups = 1;
    while groups < clusters {
        split.halve(keys, groups, ids);
        groups *= 2;
    }
}

/// Buffers of one chunk's splits.
struct Split {
    d: usize,
    /// Keys minus the mean of their group. `[S, D]`
    centred: Vec<f32>,
    /// `[G, D]`
    means: Vec<f32>,
    counts: Vec<f32>,
    /// Main axis of each group. `[G, D]`
    axes: Vec<f32>,
    next_axes: Vec<f32>,
}

impl Split {
    fn new(len: usize, d: usize, clusters: usize) -> Self {
        Self {
            d,
            centred: vec![0.0; len],
            means: vec![0.0; clusters * d],
            counts: vec![0.0; clusters],
            axes: vec![0.0; clusters * d],
            next_axes: vec![0.0; clusters * d],
        }
    }

    /// Splits each of `groups` groups in two: group g becomes 2g and 2g + 1.
    fn halve(&mut self, keys: &[f32], groups: usize, ids: &mut [u32]) {
        self.centre(keys, groups, ids);
        self.start_at_farthest(groups, ids);
        for _ in 0..POWER_ITERATIONS {
            self.iterate(groups, ids);
        }
        for (x, id) in self.centred.chunks_exact(self.d).zip(ids) {
            let axis = row(&self.axes, *id, self.d);
            *id = 2 * *id + u32::from(dot(x, axis) > 0.0);
        }
    }

    fn centre(&mut self, keys: &[f32], groups: usize, ids: &[u32]) {
        let d = self.d;
        self.means[..groups * d].fill(0.0);
        self.counts[..groups].fill(0.0);
        for (key, &id) in keys.chunks_exact(d).zip(ids) {
            add_scaled(row_mut(&mut self.means, id, d), key, 1.0);
            self.counts[id as usize] += 1.0;
        }
        for (mean, &count) in self.means.chunks_exact_mut(d).zip(&self.counts[..groups]) {
            let inverse = 1.0 / count.max(1.0);
            mean.iter_mut().for_each(|m| *m *= inverse);
        }
        let rows = self.centred.chunks_exact_mut(d).zip(keys.chunks_exact(d));
        for ((x, key), &id) in rows.zip(ids) {
            let mean = row(&self.means, id, d);
            for ((x, key), mean) in x.iter_mut().zip(key).zip(mean) {
                *x = key - mean;
            }
        }
    }

    fn start_at_farthest(&mut self, groups: usize, ids: &[u32]) {
        let mut farthest = vec![(0.0f32, usize::MAX); groups];
        for (token, (x, &id)) in self.centred.chunks_exact(self.d).zip(ids).enumerate() {
            let distance = dot(x, x);
            if distance > farthest[id as usize].0 {
                farthest[id as usize] = (distance, token);
            }
        }
        for (group, &(distance, token)) in farthest.iter().enumerate() {
            let axis = row_mut(&mut self.axes, group as u32, self.d);
            if token == usize::MAX {
                axis.fill(0.0);
            } else {
                axis.copy_from_slice(row(&self.centred, token as u32, self.d));
                normalise(axis, distance);
            }
        }
    }

    /// One power iteration: a ← Σ_j x_j (x_j·a), normalised.
    fn iterate(&mut self, groups: usize, ids: &[u32]) {
        let d = self.d;
        self.next_axes[..groups * d].fill(0.0);
        for (x, &id) in self.centred.chunks_exact(d).zip(ids) {
            let along = dot(x, row(&self.axes, id, d));
            add_scaled(row_mut(&mut self.next_axes, id, d), x, along);
        }
        for group in 0..groups as u32 {
            let axis = row_mut(&mut self.next_axes, group, d);
            let square = dot(axis, axis);
            normalise(axis, square);
        }
        std::mem::swap(&mut self.axes, &mut self.next_axes);
    }
}

fn row(rows: &[f32], index: u32, d: usize) -> &[f32] {
    &rows[index as usize * d..][..d]
}

fn row_mut(rows: &mut [f32], index: u32, d: usize) -> &mut [f32] {
    &mut rows[index as usize * d..][..d]
}

/// Scales `axis`, whose square is `square`, to length 1; one of length 0 stays so.
fn normalise(axis: &mut [f32], square: f32) {
    let inverse = if square > 0.0 {
        square.sqrt().recip()
    } else {
        0.0
    };
    axis.iter_mut().for_each(|a| *a *= inverse);
}

fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_lanes
        .remainder()
        .iter()
        .zip(b_lanes.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(keys: &[[f32; 2]], clusters: usize) -> Vec<u32> {
        let mut ids = vec![0; keys.len()];
        split_chunk(keys.as_flattened(), 2, clusters, &mut ids);
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

    #[test]
    fn dot_products_cover_the_tail() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..37).map(|i| (i * i) as f32).sum::<f32>());
    }
}
