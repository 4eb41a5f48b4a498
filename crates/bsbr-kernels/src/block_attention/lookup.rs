//! Each query's best clusters, attended to token by token.

use std::f32::consts::LOG2_E;

use super::far::Far;
use crate::cpu::block::{Block, QUERIES};
use crate::cpu::math::{LANES, vectorised};
use crate::cpu::matrix::{Mat, MatMut, product};

/// The clusters that the queries of a block look into.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The best clusters of each query so far, with their scores, the best first.
    best: Vec<Vec<(f32, u32)>>,
    /// Queries, cluster by cluster.
    queries: Vec<u32>,
    /// Where the queries of each cluster end.
    ends: Vec<usize>,
}

impl Chosen {
    /// Takes each query's best clusters out of the block's current step, whose
    /// keys from `first` on are `clusters` clusters. Of equal scores the first
    /// is the better; hidden clusters are never chosen.
    pub(super) fn choose(&mut self, block: &mut Block, first: usize, clusters: usize, best: usize) {
        let rows = block.rows();
        self.best.resize(QUERIES, Vec::new());
        self.best.iter_mut().for_each(Vec::clear);
        // A query lets a cluster in that is better than its worst one.
        let mut least = [f32::INFINITY; QUERIES];
        least[..rows].fill(f32::NEG_INFINITY);
        let lists = &mut self.best;
        vectorised(
            #[inline(always)]
            || {
                for cluster in 0..clusters {
                    let scores = block.scores_of(first + cluster);
                    for (strip, scores) in scores.chunks(LANES).enumerate() {
                        let queries = strip * LANES..strip * LANES + scores.len();
                        let least = &mut least[queries.clone()];
                        if any_above(scores, least) {
                            let lists = &mut lists[queries];
                            let queries = scores.iter().zip(least).zip(lists);
                            for ((&score, least), list) in queries {
                                if score > *least {
                                    *least = insert(list, score, cluster as u32, best);
                                }
                            }
                        }
                    }
                }
            },
        );
        self.sort_by_cluster(clusters);
        for (query, list) in self.best[..rows].iter().enumerate() {
            for &(_, cluster) in list {
                block.scores_of(first + cluster as usize)[query] = f32::NEG_INFINITY;
            }
        }
    }

    /// The queries of each cluster, in order.
    fn sort_by_cluster(&mut self, clusters: usize) {
        self.ends.clear();
        self.ends.resize(clusters, 0);
        let chosen = || self.best.iter().flatten();
        let mut total = 0;
        for &(_, cluster) in chosen() {
            self.ends[cluster as usize] += 1;
            total += 1;
        }
        // From counts to where each begins; filling then moves them to the ends.
        let mut next = 0;
        for end in &mut self.ends {
            next += std::mem::replace(end, next);
        }
        self.queries.clear();
        self.queries.resize(total, 0);
        for (query, list) in self.best.iter().enumerate() {
            for &(_, cluster) in list {
                let end = &mut self.ends[cluster as usize];
                self.queries[*end] = query as u32;
                *end += 1;
            }
        }
    }

    /// Each cluster that is looked into, with the queries that do.
    pub(super) fn clusters(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let all = starts.zip(&self.ends).enumerate();
        all.map(|(cluster, (start, &end))| (cluster, &self.queries[start..end]))
            .filter(|(_, queries)| !queries.is_empty())
    }
}

/// Looks into clusters.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Queries that look into one cluster `[n, D]`.
    rows: Vec<f32>,
    /// Their scores `[n, m]`.
    scores: Vec<f32>,
}

impl Lookup {
    /// Attends the queries `q` of the block to the tokens of the clusters that
    /// they have chosen.
    pub(super) fn attend(
        &mut self,
        block: &mut Block,
        q: Mat<'_>,
        chosen: &Chosen,
        far: &Far,
        scale: f32,
    ) {
        let d = q.t().height();
        for (cluster, queries) in chosen.clusters() {
            let [keys, values] = far.tokens(cluster);
            let rows = gather(q, queries, &mut self.rows);
            let (n, m) = (queries.len(), keys.len() / d);
            self.scores.resize(n * m, 0.0);
            let keys = Mat::dense(keys, m, d);
            let scores = MatMut::dense(&mut self.scores, n, m);
            product(scores, rows, keys.t(), scale * LOG2_E, false);
            let scores = &mut self.scores;
            vectorised(
                #[inline(always)]
                || {
                    for (scores, &query) in scores.chunks_exact_mut(m).zip(queries) {
                        block.take_one(query as usize, scores, values);
                    }
                },
            );
        }
    }
}

/// Copies some rows of a matrix side by side. `[n, D]`
pub(super) fn gather<'a>(from: Mat<'_>, rows: &[u32], to: &'a mut Vec<f32>) -> Mat<'a> {
    let d = from.t().height();
    to.resize(rows.len() * d, 0.0);
    for (to, &row) in to.chunks_exact_mut(d).zip(rows) {
        from.copy_row(row as usize, to);
    }
    Mat::dense(to, rows.len(), d)
}

/// Whether any score is above what is asked for.
#[inline(always)]
fn any_above(scores: &[f32], least: &[f32]) -> bool {
    let pairs = scores.iter().zip(least);
    pairs.fold(
        false,
        #[inline(always)]
        |any, (score, least)| any | (score > least),
    )
}

/// Puts a cluster into a list of at most `best`, the best first, after its equals.
/// Returns what the next one has to be above.
fn insert(list: &mut Vec<(f32, u32)>, score: f32, cluster: u32, best: usize) -> f32 {
    if list.len() < best {
        list.push((score, cluster));
    }
    let mut at = list.len() - 1;
    while at > 0 && list[at - 1].0 < score {
        list[at] = list[at - 1];
        at -= 1;
    }
    list[at] = (score, cluster);
    match list.last() {
        Some((least, _)) if list.len() == best => *least,
        _ => f32::NEG_INFINITY,
    }
}
