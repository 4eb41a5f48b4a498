//! Each query's best merged clusters, replaced by their clusters.

use std::ops::Range;

use super::BlockAttention;
use super::lookup::Lookup;
use super::plan::Seen;
use super::queries::{OneBlock, SharedKeys, next_chosen, raise};
use super::summarise::log_count;
use super::tokens::Unpacked;
use crate::cpu::math::LANES;

/// The clusters of opened merged clusters, for the queries of several blocks together.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Scores of the clusters of each part, for each of its queries. `[n, m…]`
    scores: Vec<f32>,
    parts: Vec<Part>,
    /// The queries of each part.
    queries: Vec<u32>,
    /// The clusters of each part.
    clusters: Vec<u32>,
    /// Where the scores of each query are. `[queries, opened]`
    rows: Vec<Row>,
    /// The number of rows of each query.
    filled: Vec<usize>,
    /// The best clusters of a query.
    best: Vec<Candidate>,
    /// Clusters that are looked up, with their queries, see [`pair`].
    chosen: Vec<u64>,
    /// These queries alone.
    choosing: Vec<u32>,
    bias: Vec<f32>,
}

/// A merged cluster, and the queries that open it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedPart<'a> {
    pub(super) merged: usize,
    pub(super) queries: &'a [u32],
    /// m, its clusters.
    pub(super) count: usize,
    /// Their scores for each query, hidden where they are looked up. `[n, m…]`
    pub(super) scores: &'a [f32],
}

/// A merged cluster that some queries open.
#[derive(Clone, Debug)]
struct Part {
    merged: usize,
    queries: Range<usize>,
    /// m
    count: usize,
    /// The first of the part's scores.
    scores: usize,
}

/// The scores of the clusters of a merged one for one query.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    scores: usize,
    clusters: usize,
    count: usize,
}

/// A cluster that may be looked up.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: f32,
    cluster: u32,
    /// Where its score is: in the scores of parts or, `in_block`, of the block.
    place: usize,
    in_block: bool,
}

impl Opened {
    /// Scores the clusters of opened merged ones, and chooses which clusters are looked up, for
    /// blocks that [`OneBlock::score_spans`] has scored. `lookup` has their queries.
    pub(super) fn prepare(
        &mut self,
        blocks: &mut [OneBlock],
        lookup: &mut Lookup,
        shared: &impl SharedKeys,
        unpacked: &mut Unpacked,
        seen: Seen,
        settings: &BlockAttention,
    ) {
        let most = settings.spans.opened.min(seen.merged);
        self.score(blocks, lookup, shared, unpacked, most);
        self.choose(blocks, seen, most, settings.exact_clusters);
    }

    /// Completes the softmax of these blocks, whose windows are attended to.
    pub(super) fn attend(
        &self,
        blocks: &mut [OneBlock],
        lookup: &mut Lookup,
        shared: &impl SharedKeys,
        unpacked: &mut Unpacked,
        seen: Seen,
    ) {
        for one in blocks.iter_mut() {
            one.weigh_spans(shared, seen);
        }
        lookup.refer_to(blocks.iter().map(|one| &one.block));
        for part in self.parts() {
            lookup.set_queries(part.queries);
            let values = shared.side(1, part.merged, &mut unpacked.values);
            lookup.look_at(part.scores, values, part.count, |query, max| {
                raise(blocks, query, max)
            });
        }
        let mut first = 0;
        for one in blocks.iter_mut() {
            for query in 0..one.block.rows() {
                one.block.add_mass(query, lookup.sum(first + query));
            }
            first += one.block.rows();
        }
        let mut looked_up = self.looked_up().peekable();
        while let Some((cluster, queries)) = looked_up.next() {
            // In a long text they are far apart in memory.
            if let Some((next, _)) = looked_up.peek() {
                shared.prefetch(*next);
            }
            lookup.set_queries(queries);
            let tokens = shared.looked_up(cluster, unpacked);
            lookup.look_into(tokens, |query, max| raise(blocks, query, max));
        }
        let mut first = 0;
        for one in blocks {
            lookup.finish(&mut one.block, first);
            first += one.block.rows();
        }
    }

    /// The opened merged clusters.
    pub(super) fn parts(&self) -> impl Iterator<Item = OpenedPart<'_>> {
        self.parts.iter().map(|part| {
            let queries = &self.queries[part.queries.clone()];
            let len = queries.len() * part.count.next_multiple_of(LANES);
            OpenedPart {
                merged: part.merged,
                queries,
                count: part.count,
                scores: &self.scores[part.scores..][..len],
            }
        })
    }

    /// Each cluster that is looked up, with the queries that look it up.
    pub(super) fn looked_up(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let all = self.chosen.chunk_by(|a, b| unpair(*a).0 == unpair(*b).0);
        let mut start = 0;
        all.filter_map(move |of_cluster| {
            let (cluster, _) = unpair(*of_cluster.first()?);
            let queries = &self.choosing[start..][..of_cluster.len()];
            start += of_cluster.len();
            Some((cluster as usize, queries))
        })
    }

    /// Scores the clusters of each opened one. A query opens at most `most`.
    fn score(
        &mut self,
        blocks: &[OneBlock],
        lookup: &mut Lookup,
        shared: &impl SharedKeys,
        unpacked: &mut Unpacked,
        most: usize,
    ) {
        self.scores.clear();
        self.parts.clear();
        self.queries.clear();
        self.clusters.clear();
        let all: usize = blocks.iter().map(|one| one.block.rows()).sum();
        self.rows.clear();
        self.rows.resize(all * most, Row::default());
        self.filled.clear();
        self.filled.resize(all, 0);
        let mut from = 0;
        while let Some(number) = next_chosen(blocks, from) {
            from = number + 1;
            lookup.gather(blocks, number);
            let clusters = shared.clusters_of(number);
            let count = clusters.len();
            let wide = count.next_multiple_of(LANES);
            self.bias.clear();
            let bias = clusters.iter();
            self.bias
                .extend(bias.map(|&cluster| log_count(shared.count_of(cluster as usize))));
            let keys = shared.side(0, number, &mut unpacked.keys);
            let scores = lookup.score(keys, count);
            for scores in scores.chunks_exact_mut(wide) {
                for (score, bias) in scores.iter_mut().zip(&self.bias) {
                    *score += bias;
                }
            }
            let first = self.scores.len();
            self.scores.extend_from_slice(scores);
            let part = Part {
                merged: number,
                queries: self.queries.len()..self.queries.len() + lookup.queries().len(),
                count,
                scores: first,
            };
            for (place, &query) in lookup.queries().iter().enumerate() {
                let filled = &mut self.filled[query as usize];
                self.rows[query as usize * most + *filled] = Row {
                    scores: part.scores + place * wide,
                    clusters: self.clusters.len(),
                    count,
                };
                *filled += 1;
            }
            self.queries.extend_from_slice(lookup.queries());
            self.clusters.extend_from_slice(clusters);
            self.parts.push(part);
        }
    }

    /// Chooses the clusters that each query looks up, and hides their scores. Ties go to the
    /// first.
    fn choose(&mut self, blocks: &mut [OneBlock], seen: Seen, most: usize, best: usize) {
        self.chosen.clear();
        self.choosing.clear();
        if best == 0 {
            return;
        }
        let flat = seen.sinks + seen.merged;
        let mut first = 0;
        for one in blocks {
            let (rows, width) = (one.block.rows(), one.block.width());
            let in_block = one.block.scores();
            for query in 0..rows {
                let number = first + query;
                self.best.clear();
                let mut least = f32::NEG_INFINITY;
                for row in &self.rows[number * most..][..self.filled[number]] {
                    let scores = &self.scores[row.scores..][..row.count];
                    for (part, scores) in scores.chunks(LANES).enumerate() {
                        // Mostly none of them is among the best.
                        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        if highest < least {
                            continue;
                        }
                        for (place, &score) in scores.iter().enumerate() {
                            let place = part * LANES + place;
                            let candidate = Candidate {
                                score,
                                cluster: self.clusters[row.clusters + place],
                                place: row.scores + place,
                                in_block: false,
                            };
                            if score >= least {
                                least = offer(&mut self.best, best, candidate);
                            }
                        }
                    }
                }
                let scores = in_block[flat * width..].iter().skip(query).step_by(width);
                for (place, &score) in scores.take(seen.unmerged()).enumerate() {
                    if score < least {
                        continue;
                    }
                    let candidate = Candidate {
                        score,
                        cluster: (seen.spanned + place) as u32,
                        place: (flat + place) * width + query,
                        in_block: true,
                    };
                    least = offer(&mut self.best, best, candidate);
                }
                for chosen in &self.best {
                    let scores = match chosen.in_block {
                        true => &mut *in_block,
                        false => &mut self.scores,
                    };
                    scores[chosen.place] = f32::NEG_INFINITY;
                    self.chosen.push(pair(chosen.cluster, number as u32));
                }
            }
            first += rows;
        }
        self.chosen.sort_unstable();
        self.choosing
            .extend(self.chosen.iter().map(|&chosen| unpair(chosen).1));
    }
}

/// Inserts a cluster into a list of the `most` best, the best first, if it is one of them. Returns
/// the score that others must reach.
fn offer(list: &mut Vec<Candidate>, most: usize, candidate: Candidate) -> f32 {
    if candidate.score > f32::NEG_INFINITY {
        let is_worse = |held: &Candidate| {
            held.score < candidate.score
                || (held.score == candidate.score && held.cluster > candidate.cluster)
        };
        if list.len() < most {
            list.push(candidate);
        } else if !list.last().is_some_and(is_worse) {
            return list.last().map_or(f32::INFINITY, |last| last.score);
        }
        let mut place = list.len() - 1;
        while place > 0 && is_worse(&list[place - 1]) {
            list[place] = list[place - 1];
            place -= 1;
        }
        list[place] = candidate;
    }
    match list.last() {
        Some(last) if list.len() == most => last.score,
        _ => f32::NEG_INFINITY,
    }
}

/// A cluster and a query as one number, in the order of clusters.
fn pair(cluster: u32, query: u32) -> u64 {
    u64::from(cluster) << 32 | u64::from(query)
}

fn unpair(pair: u64) -> (u32, u32) {
    ((pair >> 32) as u32, pair as u32)
}
