//! The clusters that each query of a block looks up.

use pulp::{Simd, WithSimd};

use crate::cpu::block::{Block, QUERIES};
use crate::cpu::math::{LANES, vectorised};
use crate::cpu::simd::{bits, dispatch, is_any, lanes, store};

/// The clusters that the queries of a block look up.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The best scores so far of [`LANES`] queries, the best first.
    best: Vec<f32>,
    /// The best scores so far of a single query, in descending order, and their clusters.
    alone: Vec<(f32, usize)>,
    /// Queries, cluster by cluster.
    queries: Vec<u32>,
    /// The end of each cluster's queries.
    ends: Vec<usize>,
}

/// The threshold of scores of looked-up clusters, for the queries of one register.
#[derive(Clone, Copy, Debug)]
struct Threshold {
    least: [f32; LANES],
    /// How many clusters with the score `least` itself are looked up.
    room: [u32; LANES],
}

impl Chosen {
    /// Removes each query's best clusters from the block's current step, whose keys from `first`
    /// on are `clusters` clusters. Ties go to the first; hidden clusters are never chosen.
    pub(super) fn choose(&mut self, block: &mut Block, first: usize, clusters: usize, best: usize) {
        self.clear();
        if block.width() == 1 {
            self.choose_alone(block, first, clusters, best);
            return;
        }
        let rows = block.rows();
        let mut thresholds = [Threshold::OPEN; QUERIES / LANES];
        let strips = block.width() / LANES;
        if best < clusters {
            for (strip, threshold) in thresholds[..strips].iter_mut().enumerate() {
                *threshold = self.threshold(block, first, clusters, best, strip);
            }
        }
        let width = block.width();
        dispatch(Take {
            scores: &mut block.scores()[first * width..][..clusters * width],
            width,
            rows,
            thresholds: &mut thresholds[..strips],
            queries: &mut self.queries,
            ends: &mut self.ends,
        });
    }

    /// The threshold of the `best` best scores, for the queries of register number `strip`.
    fn threshold(
        &mut self,
        block: &mut Block,
        first: usize,
        clusters: usize,
        best: usize,
        strip: usize,
    ) -> Threshold {
        if best == 0 {
            return Threshold::CLOSED;
        }
        self.best.clear();
        self.best.resize(best * LANES, f32::NEG_INFINITY);
        let width = block.width();
        dispatch(Best {
            scores: &block.scores()[first * width + strip * LANES..],
            width,
            clusters,
            list: &mut self.best,
        });
        let Some(least) = self.best.last_chunk::<LANES>().copied() else {
            return Threshold::CLOSED;
        };
        let mut room = [0; LANES];
        for scores in self.best.as_chunks::<LANES>().0 {
            for ((room, x), least) in room.iter_mut().zip(scores).zip(&least) {
                *room += u32::from(x == least);
            }
        }
        Threshold { least, room }
    }

    /// The same for a single query, whose scores are one vector.
    fn choose_alone(&mut self, block: &mut Block, first: usize, clusters: usize, best: usize) {
        let scores = &mut block.scores()[first..first + clusters];
        let all = &mut self.alone;
        all.clear();
        vectorised(
            #[inline(always)]
            || {
                for (some, scores) in scores.chunks(ALONE).enumerate() {
                    let least = |all: &[(f32, usize)]| match all.last() {
                        Some((least, _)) if all.len() == best => *least,
                        _ => f32::NEG_INFINITY,
                    };
                    let threshold = least(all);
                    // NaN reaches no threshold here or below.
                    if !scores.iter().fold(false, |any, &x| any | (x > threshold)) {
                        continue;
                    }
                    for (cluster, &score) in scores.iter().enumerate() {
                        if score > least(all) {
                            if all.len() == best {
                                all.pop();
                            }
                            let place = all.partition_point(|(held, _)| *held >= score);
                            all.insert(place, (score, some * ALONE + cluster));
                        }
                    }
                }
            },
        );
        all.sort_unstable_by_key(|(_, cluster)| *cluster);
        self.ends.resize(clusters, all.len());
        let mut start = 0;
        for (number, &(_, cluster)) in all.iter().enumerate() {
            scores[cluster] = f32::NEG_INFINITY;
            self.ends[start..cluster].fill(number);
            start = cluster;
        }
        self.queries.resize(all.len(), 0);
    }

    /// Removes all choices.
    pub(super) fn clear(&mut self) {
        self.queries.clear();
        self.ends.clear();
    }

    /// The queries that look up a cluster.
    pub(super) fn queries_of(&self, cluster: usize) -> &[u32] {
        let end = self.ends.get(cluster).copied().unwrap_or(0);
        let start = match cluster {
            0 => 0,
            _ => self.ends.get(cluster - 1).copied().unwrap_or(0),
        };
        &self.queries[start.min(end)..end]
    }

    /// The first cluster from number `from` on that is looked up.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let before = from.checked_sub(1).and_then(|before| self.ends.get(before));
        let before = before.copied().unwrap_or(0);
        let rest = self.ends.get(from..)?;
        let none = rest.partition_point(|&end| end <= before);
        (none < rest.len()).then_some(from + none)
    }

    /// Each looked-up cluster, with the queries that look it up.
    pub(super) fn clusters(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let all = (0..self.ends.len()).map(|cluster| (cluster, self.queries_of(cluster)));
        all.filter(|(_, queries)| !queries.is_empty())
    }
}

impl Threshold {
    /// Accepts nothing.
    const CLOSED: Self = Self {
        least: [f32::INFINITY; LANES],
        room: [0; LANES],
    };

    /// Accepts everything that is visible.
    const OPEN: Self = Self {
        least: [f32::NEG_INFINITY; LANES],
        room: [0; LANES],
    };

    /// Whether a query looks up a cluster of this score.
    fn lets_in(&mut self, lane: usize, score: f32) -> bool {
        let least = self.least[lane];
        if score > least {
            return true;
        }
        let fits = score == least && self.room[lane] > 0 && score > f32::NEG_INFINITY;
        self.room[lane] -= u32::from(fits);
        fits
    }
}

/// Hides the scores that reach the thresholds, cluster by cluster, and lists their queries.
struct Take<'a> {
    /// `[clusters, width]`
    scores: &'a mut [f32],
    width: usize,
    /// Queries.
    rows: usize,
    /// One for [`LANES`] queries.
    thresholds: &'a mut [Threshold],
    queries: &'a mut Vec<u32>,
    ends: &'a mut Vec<usize>,
}

impl WithSimd for Take<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for scores in self.scores.chunks_exact_mut(self.width) {
            for (strip, threshold) in self.thresholds.iter_mut().enumerate() {
                let first = strip * LANES;
                let scores = &mut scores[first..][..LANES];
                let mut reached = 0;
                for start in (0..LANES).step_by(S::F32_LANES) {
                    let (x, least) = (
                        lanes(simd, scores, start),
                        lanes(simd, &threshold.least, start),
                    );
                    reached |= bits::<S>(simd.greater_than_or_equal_f32s(x, least)) << start;
                }
                let queries = self.rows.saturating_sub(first).min(LANES);
                reached &= (1 << queries) - 1;
                while reached != 0 {
                    let lane = reached.trailing_zeros() as usize;
                    reached &= reached - 1;
                    if threshold.lets_in(lane, scores[lane]) {
                        scores[lane] = f32::NEG_INFINITY;
                        self.queries.push((first + lane) as u32);
                    }
                }
            }
            self.ends.push(self.queries.len());
        }
    }
}

/// Sorts the best scores of [`LANES`] queries into a list, the best first.
struct Best<'a> {
    /// The scores of the first cluster; those of the others follow at a distance of `width`.
    scores: &'a [f32],
    width: usize,
    clusters: usize,
    /// `[best, LANES]`
    list: &'a mut [f32],
}

/// Clusters that are skipped together if none of them is among the best so far.
const TOGETHER: usize = 4;

/// The same for a single query.
const ALONE: usize = 64;

impl WithSimd for Best<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for start in (0..LANES).step_by(S::F32_LANES) {
            // Lists that stay in registers.
            match self.list.len() / LANES {
                0..5 => self.run::<S, 4>(simd, start),
                5..9 => self.run::<S, 8>(simd, start),
                9..13 => self.run::<S, 12>(simd, start),
                13..17 => self.run::<S, 16>(simd, start),
                _ => self.run_in_memory(simd, start),
            }
        }
    }
}

impl Best<'_> {
    /// For a list of at most L scores.
    #[inline(always)]
    fn run<S: Simd, const L: usize>(&mut self, simd: S, start: usize) {
        let best = self.list.len() / LANES;
        let mut list = [simd.splat_f32s(f32::NEG_INFINITY); L];
        let scores = |cluster| lanes(simd, self.scores, cluster * self.width + start);
        let mut first = 0;
        while first < self.clusters {
            let some = TOGETHER.min(self.clusters - first);
            let mut highest = scores(first);
            for cluster in first + 1..first + some {
                highest = simd.max_f32s(highest, scores(cluster));
            }
            if is_any(simd, simd.greater_than_f32s(highest, list[best - 1])) {
                for cluster in first..first + some {
                    let mut falling = scores(cluster);
                    for held in &mut list {
                        let higher = simd.max_f32s(*held, falling);
                        falling = simd.min_f32s(*held, falling);
                        *held = higher;
                    }
                }
            }
            first += some;
        }
        for (place, held) in self.list.chunks_exact_mut(LANES).zip(list) {
            store(simd, place, start, held);
        }
    }

    #[inline(always)]
    fn run_in_memory<S: Simd>(&mut self, simd: S, start: usize) {
        let last = self.list.len() - LANES;
        for cluster in 0..self.clusters {
            let mut falling = lanes(simd, self.scores, cluster * self.width + start);
            let least = lanes(simd, self.list, last + start);
            if !is_any(simd, simd.greater_than_f32s(falling, least)) {
                continue;
            }
            for place in self.list.chunks_exact_mut(LANES) {
                let held = lanes(simd, place, start);
                store(simd, place, start, simd.max_f32s(held, falling));
                falling = simd.min_f32s(held, falling);
            }
        }
    }
}
