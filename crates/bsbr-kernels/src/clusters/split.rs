//! The splits of one chunk.

use crate::cpu::math::{add_weighted, row_copy, row_dot, row_subtract, vectorised};

/// Rounds of power iteration that find the main axis.
pub(crate) const POWER_ITERATIONS: usize = 3;

/// The splits of a chunk, and buffers to be used again for the next one.
///
/// Keys are moved, so that those of a group always lie together, in the order of
/// their tokens.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The chunk's tokens, cluster by cluster. `[S]`
    order: Vec<usize>,
    /// How many tokens each cluster has.
    counts: Vec<usize>,
    /// Keys, minus the mean of the group that they were in last. `[S, D]`
    rows: Vec<f32>,
    /// A number of each token: how far it is, or how far along the axis. `[S]`
    along: Vec<f32>,
    ones: Vec<f32>,
    /// Mean, then axis, of a group. `[D]`
    axis: Vec<f32>,
    /// What the next level makes of `rows`, `order` and `counts`.
    next_rows: Vec<f32>,
    next_order: Vec<usize>,
    next_counts: Vec<usize>,
}

impl Split {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The tokens of the last chunk, cluster by cluster.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// How many of them each cluster has.
    pub(crate) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Splits the keys `[S, D]` of a chunk.
    pub(crate) fn run(&mut self, keys: &[f32], d: usize, clusters: usize) {
        let size = keys.len() / d;
        self.order.clear();
        self.order.extend(0..size);
        self.counts.clear();
        self.counts.push(size);
        self.rows.clear();
        self.rows.extend_from_slice(keys);
        self.along.resize(size, 0.0);
        self.ones.resize(size, 1.0);
        self.axis.resize(d, 0.0);
        while self.counts.len() < clusters {
            self.next_rows.resize(keys.len(), 0.0);
            self.next_order.clear();
            self.next_counts.clear();
            let mut start = 0;
            for group in 0..self.counts.len() {
                let end = start + self.counts[group];
                self.project(start, end, d);
                self.part(start, end, d);
                start = end;
            }
            std::mem::swap(&mut self.rows, &mut self.next_rows);
            std::mem::swap(&mut self.order, &mut self.next_order);
            std::mem::swap(&mut self.counts, &mut self.next_counts);
        }
    }

    /// Centres a group, and writes how far its keys are along its main axis.
    fn project(&mut self, start: usize, end: usize, d: usize) {
        let rows = &mut self.rows[start * d..end * d];
        let along = &mut self.along[start..end];
        let axis = self.axis.as_mut_slice();
        sum(rows, &self.ones[start..end], axis);
        scale(axis, 1.0 / along.len().max(1) as f32);
        subtract(rows, axis, along);
        let (mut farthest, mut distance) = (None, 0.0);
        for (token, &square) in along.iter().enumerate() {
            if square > distance {
                (farthest, distance) = (Some(token), square);
            }
        }
        match farthest {
            None => axis.fill(0.0),
            Some(token) => {
                axis.copy_from_slice(&rows[token * d..][..d]);
                normalise(axis, distance);
            }
        }
        // One power iteration: a ← Σ_j x_j (x_j·a), normalised.
        for _ in 0..POWER_ITERATIONS {
            products(rows, axis, along);
            sum(rows, along, axis);
            let square = axis.iter().map(|x| x * x).sum();
            normalise(axis, square);
        }
        products(rows, axis, along);
    }

    /// Parts a group where its main axis is cut at the mean.
    fn part(&mut self, start: usize, end: usize, d: usize) {
        for beyond in [false, true] {
            let before = self.next_order.len();
            for token in start..end {
                if (self.along[token] > 0.0) == beyond {
                    self.next_order.push(self.order[token]);
                }
            }
            self.next_counts.push(self.next_order.len() - before);
        }
        let (rows, along) = (&self.rows[start * d..end * d], &self.along[start..end]);
        let mut next = self.next_rows[start * d..end * d].chunks_exact_mut(d);
        vectorised(
            #[inline(always)]
            || {
                for beyond in [false, true] {
                    for (row, along) in rows.chunks_exact(d).zip(along) {
                        if (*along > 0.0) == beyond
                            && let Some(to) = next.next()
                        {
                            row_copy(to, row);
                        }
                    }
                }
            },
        );
    }
}

// One compiled loop each: within a larger body their sums would not stay in registers.

/// Sum of the rows times their weights.
fn sum(rows: &[f32], weights: &[f32], sum: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            sum.fill(0.0);
            add_weighted(sum, weights, rows);
        },
    );
}

/// Takes `mean` from all rows, and writes their squares.
fn subtract(rows: &mut [f32], mean: &[f32], squares: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (row, square) in rows.chunks_exact_mut(mean.len()).zip(squares) {
                row_subtract(row, mean);
                *square = row_dot(row, row);
            }
        },
    );
}

/// Products of all rows with `axis`.
fn products(rows: &[f32], axis: &[f32], products: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (row, product) in rows.chunks_exact(axis.len()).zip(products) {
                *product = row_dot(row, axis);
            }
        },
    );
}

/// Scales `axis`, whose square is `square`, to length 1; one of length 0 stays so.
fn normalise(axis: &mut [f32], square: f32) {
    let inverse = if square > 0.0 {
        1.0 / square.sqrt()
    } else {
        0.0
    };
    scale(axis, inverse);
}

fn scale(row: &mut [f32], factor: f32) {
    for x in row {
        *x *= factor;
    }
}

#[cfg(test)]
mod tests {
    fn split(keys: &[[f32; 2]], clusters: usize) -> Vec<u32> {
        crate::split_into_clusters(keys.as_flattened(), [keys.len(), 2], clusters)
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

    /// Three keys far apart, at a scale.
    fn three(scale: f32) -> Vec<u32> {
        let keys = [[1.0, 2.0], [3.0, 5.0], [-4.0, 0.5]].map(|k| k.map(|x| x * scale));
        split(&keys, 4)
    }

    #[test]
    fn keys_of_very_different_sizes_are_told_apart() {
        for scale in [1e-9, 1.0, 1e8] {
            let mut ids = three(scale);
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 3, "{scale}");
        }
    }

    /// Their axis is nothing, for the fourth power of their spread is zero or infinite.
    #[test]
    fn keys_without_spread_or_beyond_any_model_stay_together() {
        for scale in [0.0, 1e-30, 1e15] {
            assert_eq!(three(scale), [0; 3], "{scale}");
        }
    }
}
