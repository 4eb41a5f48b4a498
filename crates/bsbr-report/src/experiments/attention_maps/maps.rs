//! Metrics on attention maps: rows of weights over earlier tokens.

use std::ops::Range;

use bsbr_attention::Grid;
use rayon::prelude::*;

use crate::experiments::density::queries;

/// The far field of the query at `position`.
fn far(grid: Grid, position: usize) -> Range<usize> {
    grid.sinks..grid.start_of(grid.far_of_token(position))
}

/// Similarity of a head's maps, by the names in [`PARTS`]: means over queries of the cosine of their
/// weights, and the share of the dense weights on the far field, over queries that have one.
pub(super) type HeadScores = [Option<f64>; 4];

/// Tokens of the query's own chunk, all before it, the far field, and the weight of the far field.
pub(super) const PARTS: [&str; 4] = ["within", "between", "far", "dense_far_mass"];

/// Compares maps head by head. `[H · N · N]`
pub(super) fn compare(dense: &[f32], arm: &[f32], tokens: usize, grid: Grid) -> Vec<HeadScores> {
    let size = tokens * tokens;
    dense
        .par_chunks_exact(size)
        .zip(arm.par_chunks_exact(size))
        .map(|(dense, arm)| {
            let rows = dense.chunks_exact(tokens).zip(arm.chunks_exact(tokens));
            let rows = rows.enumerate().map(|(i, (dense, arm))| {
                let own = grid.chunk_of(i).map_or(0, |chunk| grid.start_of(chunk));
                let far = far(grid, i);
                let compare = |part: Range<usize>| cosine(&dense[part.clone()], &arm[part]);
                let mass = || dense[far.clone()].iter().map(|&x| f64::from(x)).sum();
                // A single weight has no direction to compare.
                let is_far = far.len() > 1;
                [
                    compare(own..i + 1).filter(|_| i > own),
                    compare(0..own).filter(|_| own > 1),
                    compare(far.clone()).filter(|_| is_far),
                    is_far.then(mass),
                ]
            });
            let rows: Vec<[Option<f64>; 4]> = rows.collect();
            let mean = |part: usize| {
                let values = || rows.iter().filter_map(|row| row[part]);
                let count = values().count();
                (count > 0).then(|| values().sum::<f64>() / count as f64)
            };
            [mean(0), mean(1), mean(2), mean(3).or(Some(0.0))]
        })
        .collect()
}

/// The head with the most weight on the far field.
pub(super) fn most_far(weights: &[f32], tokens: usize, heads: usize, grid: Grid) -> usize {
    let scores = compare(weights, weights, tokens, grid);
    let mass = |head: usize| scores[head][3].unwrap_or_default();
    let heads = (0..heads).rev();
    let most = heads.max_by(|&a, &b| mass(a).total_cmp(&mass(b)));
    most.unwrap_or(0)
}

/// Some rows of every head's map, normalised to length 1, for matching heads.
#[derive(Debug)]
pub(super) struct Rows {
    tokens: usize,
    picked: Vec<usize>,
    heads: Vec<Vec<f32>>,
}

impl Rows {
    /// At most `count` rows, evenly spread, including the last.
    pub fn new(tokens: usize, count: usize) -> Self {
        Self {
            tokens,
            picked: queries(tokens, count).collect(),
            heads: Vec::new(),
        }
    }

    /// Adds a layer's heads. `[H · N · N]`
    pub fn add(&mut self, weights: &[f32]) {
        for map in weights.chunks_exact(self.tokens * self.tokens) {
            let mut rows = Vec::with_capacity(self.picked.len() * self.tokens);
            for &row in &self.picked {
                let row = &map[row * self.tokens..(row + 1) * self.tokens];
                let square: f32 = row.iter().map(|x| x * x).sum();
                let length = square.sqrt().max(f32::MIN_POSITIVE);
                rows.extend(row.iter().map(|x| x / length));
            }
            self.heads.push(rows);
        }
    }

    /// For each head, the head of `other` whose rows have the greatest mean cosine with its own;
    /// ties go to the head of the same index.
    pub fn best_matches(&self, other: &Self) -> Vec<usize> {
        let similarity = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        self.heads
            .par_iter()
            .enumerate()
            .map(|(place, rows)| {
                let own = other.heads.get(place);
                let own = own.map_or(f32::MIN, |one| similarity(rows, one));
                let others = other.heads.iter().enumerate();
                let others = others.map(|(index, one)| (index, similarity(rows, one)));
                let better = |best: (usize, f32), one: (usize, f32)| match one.1 > best.1 {
                    true => one,
                    false => best,
                };
                others.fold((place, own), better).0
            })
            .collect()
    }
}

/// The cosine of two rows of weights: 0 if the arm has none, `None` if the dense row has none.
fn cosine(dense: &[f32], arm: &[f32]) -> Option<f64> {
    let (mut dot, mut dense_square, mut arm_square) = (0.0, 0.0, 0.0);
    for (&a, &b) in dense.iter().zip(arm) {
        let (a, b) = (f64::from(a), f64::from(b));
        dot += a * b;
        dense_square += a * a;
        arm_square += b * b;
    }
    match (dense_square > 0.0, arm_square > 0.0) {
        (false, _) => None,
        (true, false) => Some(0.0),
        (true, true) => Some((dot / (dense_square.sqrt() * arm_square.sqrt())).clamp(-1.0, 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid {
        sinks: 1,
        chunk_size: 2,
        near_chunks: 1,
    };

    /// Causal weights of `heads` different heads.
    fn maps(heads: usize, tokens: usize) -> Vec<f32> {
        let mut weights = vec![0.0; heads * tokens * tokens];
        for head in 0..heads {
            for i in 0..tokens {
                for j in 0..=i {
                    let weight = ((i * (head + 2) + j * 5) % 7) as f32 + 1.0;
                    weights[(head * tokens + i) * tokens + j] = weight;
                }
            }
        }
        weights
    }

    #[test]
    fn a_map_is_like_itself_and_finds_itself() {
        let weights = maps(3, 8);
        for score in compare(&weights, &weights, 8, GRID) {
            assert!(
                score[..3]
                    .iter()
                    .all(|one| (one.unwrap() - 1.0).abs() < 1e-12)
            );
        }
        let mut rows = Rows::new(8, 4);
        rows.add(&weights);
        assert_eq!(rows.best_matches(&rows), [0, 1, 2]);
    }

    #[test]
    fn swapped_heads_find_each_other_and_what_is_lost_counts_as_zero() {
        let weights = maps(2, 8);
        let swapped = [&weights[64..], &weights[..64]].concat();
        let (mut a, mut b) = (Rows::new(8, 8), Rows::new(8, 8));
        a.add(&weights);
        b.add(&swapped);
        assert_eq!(a.best_matches(&b), [1, 0]);

        let mut local = weights.clone();
        for i in 0..8 {
            for j in far(GRID, i) {
                local[i * 8 + j] = 0.0;
            }
        }
        let scores = compare(&weights, &local, 8, GRID);
        assert_eq!(scores[0][2], Some(0.0));
        assert!(scores[0][0].unwrap() > 0.999);
    }
}
