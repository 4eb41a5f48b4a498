//! Each query's best clusters, attended to token by token.

use super::far::Far;
use super::tile;
use super::tokens::Members;
use crate::cpu::block::{Block, QUERIES};
use crate::cpu::math::{LANES, exp2_below, row_max, sum_lanes, vectorised};
use crate::cpu::matrix::Mat;

/// The clusters that the queries of a block look into.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The best scores so far of the queries of each register, the best first.
    best: Vec<[f32; LANES]>,
    /// Scores and clusters of a query alone.
    alone: Vec<(f32, u32)>,
    /// Queries, cluster by cluster.
    queries: Vec<u32>,
    /// Where the queries of each cluster end.
    ends: Vec<usize>,
}

/// What a cluster's score must be above, or at, to be looked into by the queries of one register.
#[derive(Clone, Copy, Debug)]
struct Bar {
    least: [f32; LANES],
    /// How many clusters whose score is `least` itself are looked into.
    room: [u32; LANES],
}

impl Chosen {
    /// Takes each query's best clusters out of the block's current step, whose
    /// keys from `first` on are `clusters` clusters. Of equal scores the first
    /// is the better; hidden clusters are never chosen.
    pub(super) fn choose(&mut self, block: &mut Block, first: usize, clusters: usize, best: usize) {
        self.queries.clear();
        self.ends.clear();
        if block.width() == 1 {
            self.choose_alone(block, first, clusters, best);
            return;
        }
        let rows = block.rows();
        let mut bars = [Bar {
            least: [f32::NEG_INFINITY; LANES],
            room: [0; LANES],
        }; QUERIES / LANES];
        let strips = block.width() / LANES;
        if best < clusters {
            for (strip, bar) in bars[..strips].iter_mut().enumerate() {
                *bar = self.bar(block, first, clusters, best, strip);
            }
        }
        for cluster in 0..clusters {
            let scores = block.scores_of(first + cluster);
            for (strip, bar) in bars[..strips].iter_mut().enumerate() {
                let Some(scores) = scores[strip * LANES..].first_chunk_mut::<LANES>() else {
                    continue;
                };
                let taken = vectorised(
                    #[inline(always)]
                    || bar.take(scores),
                );
                let queries = taken.iter().enumerate();
                let queries = queries.filter(|(_, taken)| **taken != 0);
                let queries = queries.map(|(lane, _)| (strip * LANES + lane) as u32);
                self.queries
                    .extend(queries.filter(|&query| (query as usize) < rows));
            }
            self.ends.push(self.queries.len());
        }
    }

    /// What the `best` best scores of the queries of register number `strip` are above.
    fn bar(
        &mut self,
        block: &mut Block,
        first: usize,
        clusters: usize,
        best: usize,
        strip: usize,
    ) -> Bar {
        let list = &mut self.best;
        list.clear();
        list.resize(best, [f32::NEG_INFINITY; LANES]);
        let width = block.width();
        let scores = &block.scores()[first * width..];
        vectorised(
            #[inline(always)]
            || {
                for scores in scores.chunks_exact(width).take(clusters) {
                    let Some(scores) = scores[strip * LANES..].first_chunk::<LANES>() else {
                        continue;
                    };
                    insert(list, scores);
                }
                let least = list.last().copied().unwrap_or([f32::INFINITY; LANES]);
                let mut room = [0; LANES];
                for scores in list.iter() {
                    for ((room, x), least) in room.iter_mut().zip(scores).zip(&least) {
                        *room += u32::from(x == least);
                    }
                }
                Bar { least, room }
            },
        )
    }

    /// The same for a query alone, whose scores are one vector.
    fn choose_alone(&mut self, block: &mut Block, first: usize, clusters: usize, best: usize) {
        let scores = &mut block.scores()[first..first + clusters];
        let all = &mut self.alone;
        all.clear();
        let seen = scores.iter().enumerate();
        let seen = seen.filter(|(_, score)| **score > f32::NEG_INFINITY);
        all.extend(seen.map(|(cluster, &score)| (score, cluster as u32)));
        if best < all.len() {
            all.select_nth_unstable_by(best, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(best);
        }
        let mut taken = vec![0; clusters];
        for &(_, cluster) in all.iter() {
            scores[cluster as usize] = f32::NEG_INFINITY;
            taken[cluster as usize] = 1;
        }
        let mut end = 0;
        for taken in taken {
            end += taken;
            self.ends.push(end);
        }
        self.queries.resize(end, 0);
    }

    /// Each cluster that is looked into, with the queries that do.
    pub(super) fn clusters(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let all = starts.zip(&self.ends).enumerate();
        all.map(|(cluster, (start, &end))| (cluster, &self.queries[start..end]))
            .filter(|(_, queries)| !queries.is_empty())
    }
}

impl Bar {
    /// Hides the scores that reach the bar, and tells which those are.
    #[inline(always)]
    fn take(&mut self, scores: &mut [f32; LANES]) -> [u32; LANES] {
        let mut taken = [0; LANES];
        for lane in 0..LANES {
            let (score, least) = (scores[lane], self.least[lane]);
            let above = u32::from(score > least);
            let at = u32::from(score == least)
                & u32::from(self.room[lane] > 0)
                & u32::from(score > f32::NEG_INFINITY);
            self.room[lane] -= at;
            taken[lane] = above | at;
            scores[lane] = if taken[lane] != 0 {
                f32::NEG_INFINITY
            } else {
                score
            };
        }
        taken
    }
}

/// Puts scores into lists, the best first; the least falls out.
#[inline(always)]
fn insert(list: &mut [[f32; LANES]], scores: &[f32; LANES]) {
    let Some(least) = list.last() else {
        return;
    };
    let mut any = 0;
    for (x, least) in scores.iter().zip(least) {
        any |= u32::from(x > least);
    }
    if any == 0 {
        return;
    }
    let mut falling = *scores;
    for place in list {
        for (place, falling) in place.iter_mut().zip(&mut falling) {
            let (a, b) = (*place, *falling);
            *place = if b > a { b } else { a };
            *falling = if b > a { a } else { b };
        }
    }
}

/// A score may be this far above the largest that was known when weights began to be taken
/// relative to it, in units of ln 2.
const HEADROOM: f32 = 60.0;

/// Looks into clusters.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// The block's queries, scaled. `[QUERIES, D]`
    q: Vec<f32>,
    /// Scores, then weights, of the tokens of one cluster. `[n, m…]`
    weights: Vec<f32>,
    /// Unnormalised output of each query. `[QUERIES, D…]`
    acc: Vec<f32>,
    /// Sums of each query's weights.
    sums: Vec<[f32; LANES]>,
    d: usize,
}

impl Lookup {
    /// Begins with the queries of a block.
    pub(super) fn begin(&mut self, block: &Block) {
        let (rows, d) = (block.rows(), block.head_dim());
        self.d = d;
        self.q.resize(rows * d, 0.0);
        block.copy_queries(&mut self.q);
        self.acc.clear();
        self.acc.resize(rows * d.next_multiple_of(LANES), 0.0);
        self.sums.clear();
        self.sums.resize(rows, [0.0; LANES]);
    }

    /// Attends the queries of the block to the tokens of the clusters that they have chosen.
    pub(super) fn attend(&mut self, block: &mut Block, chosen: &Chosen, far: &Far) {
        self.begin(block);
        for (cluster, queries) in chosen.clusters() {
            self.look_into(block, queries, far.looked_up(cluster));
        }
        self.finish(block);
    }

    /// Attends some queries to the tokens of one cluster.
    pub(super) fn look_into(&mut self, block: &mut Block, queries: &[u32], tokens: Members<'_>) {
        let (d, m) = (self.d, tokens.count);
        let wide = m.next_multiple_of(LANES);
        self.weights.resize(queries.len() * wide, 0.0);
        tile::Scores {
            q: &self.q,
            queries,
            keys: tokens.keys,
            d,
            m,
            to: &mut self.weights,
        }
        .run();
        self.weigh(block, queries, m);
        tile::Values {
            weights: &self.weights,
            values: tokens.values,
            d,
            m,
            queries,
            to: &mut self.acc,
        }
        .run();
    }

    /// Turns the scores of `m` tokens into weights.
    fn weigh(&mut self, block: &mut Block, queries: &[u32], m: usize) {
        let wide = m.next_multiple_of(LANES);
        let stride = self.d.next_multiple_of(LANES);
        let (acc, sums) = (&mut self.acc, &mut self.sums);
        let rows = self.weights.chunks_exact_mut(wide).zip(queries);
        vectorised(
            #[inline(always)]
            || {
                for (scores, &query) in rows {
                    let query = query as usize;
                    scores[m..].fill(f32::NEG_INFINITY);
                    let mut max = block.max(query);
                    if any_above(scores, max + HEADROOM) {
                        let shrink = block.raise(query, row_max(scores));
                        max = block.max(query);
                        for x in &mut acc[query * stride..][..stride] {
                            *x *= shrink;
                        }
                        for x in &mut sums[query] {
                            *x *= shrink;
                        }
                    }
                    let sums = &mut sums[query];
                    for scores in scores.as_chunks_mut::<LANES>().0 {
                        for (sum, x) in sums.iter_mut().zip(scores) {
                            *x = exp2_below(*x - max);
                            *sum += *x;
                        }
                    }
                }
            },
        );
    }

    /// Adds what was found to the block's output.
    pub(super) fn finish(&mut self, block: &mut Block) {
        let stride = self.d.next_multiple_of(LANES);
        let rows = self.acc.chunks_exact(stride).zip(&self.sums);
        vectorised(
            #[inline(always)]
            || {
                for (query, (acc, sums)) in rows.enumerate() {
                    block.add_to_one(query, acc, sum_lanes(*sums));
                }
            },
        );
    }
}

/// Whether any score is above a limit.
#[inline(always)]
fn any_above(scores: &[f32], limit: f32) -> bool {
    let mut any = 0;
    for scores in scores.as_chunks::<LANES>().0 {
        for x in scores {
            any |= u32::from(*x > limit);
        }
    }
    any != 0
}

/// Copies some rows of a matrix side by side. `[n, D]`
pub(super) fn gather<'a>(
    from: Mat<'_>,
    rows: &[u32],
    to: &'a mut Vec<f32>,
) -> Mat<'a> {
    let d = from.t().height();
    to.resize(rows.len() * d, 0.0);
    for (to, &row) in to.chunks_exact_mut(d).zip(rows) {
        from.copy_row(row as usize, to);
    }
    Mat::dense(to, rows.len(), d)
}
