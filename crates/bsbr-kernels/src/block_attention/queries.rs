//! One softmax for a block of queries over everything that they see.

use std::ops::Range;

use super::BlockAttention;
use super::choose::Chosen;
use super::kept::{Coded, KeptRows};
use super::lookup::Lookup;
use super::opened::Opened;
use super::plan::{List, Seen, blocks};
use super::tokens::{Members, Side, Unpacked};
use crate::cpu::block::Block;
use crate::cpu::math::vectorised;
use crate::cpu::matrix::Mat;

/// Keys that all queries of a chunk see: sinks, then clusters of far chunks.
pub(super) trait SharedKeys {
    /// Keys (`of` = 0) or values (1) from number `start` on. Rows in few bits are decoded into
    /// `decoded`. `[len, D]`
    fn rows<'a>(
        &'a self,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a>;

    /// Keys (`of` = 0) or values (1) of a list. `[len, D]`
    fn listed<'a>(
        &'a self,
        list: List,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a> {
        match list {
            List::Clusters => self.rows(of, start, len, decoded),
            List::Merged => self.merged(of, start, len, decoded),
        }
    }

    /// Keys (`of` = 0) or values (1) of a list that a single query reads without decoding them,
    /// if they are stored in few bits.
    fn coded(&self, _list: List, _of: usize, _start: usize, _len: usize) -> Option<Coded<'_>> {
        None
    }

    /// The maximum number of keys read at a time.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// The bias of the scores from number `start` on, in units of ln 2: 0 for sinks, log₂ m for
    /// clusters.
    fn bias(&self, start: usize, len: usize) -> &[f32];

    /// The tokens of a looked-up cluster, by its index from the first cluster.
    fn looked_up<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a>;

    /// A hint that a cluster is looked up next.
    fn prefetch(&self, _cluster: usize) {}

    /// The same, decoded if they are stored as codes.
    fn decoded<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a> {
        self.looked_up(cluster, unpacked)
    }

    /// Keys (`of` = 0) or values (1) of merged clusters from number `start` on, same as
    /// [`rows`](Self::rows). `[len, D]`
    fn merged<'a>(
        &'a self,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a>;

    /// The bias of their scores, in units of ln 2.
    fn merged_bias(&self, start: usize, len: usize) -> &[f32];

    /// The clusters of a merged one, without empty ones.
    fn clusters_of(&self, merged: usize) -> &[u32];

    /// The number of tokens of a cluster.
    fn count_of(&self, cluster: usize) -> usize;

    /// Mean keys (`of` = 0) or values (1) of the clusters of a merged one.
    fn side<'a>(&'a self, of: usize, merged: usize, unpacked: &'a mut Vec<f32>) -> Side<'a>;
}

/// Tokens, of which the near ones are seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near<'a> {
    /// Keys and values of tokens from number `first` on.
    pub(super) k: NearRows<'a>,
    pub(super) v: NearRows<'a>,
    pub(super) first: usize,
}

/// Keys or values of tokens. `[n, D]`
#[derive(Clone, Copy, Debug)]
pub(super) enum NearRows<'a> {
    Whole(Mat<'a>),
    /// In few bits, each row added as its own block.
    Kept(&'a KeptRows),
}

impl<'a> NearRows<'a> {
    /// Rows from number `start` on, decoded into `decoded` if necessary. `[len, D]`
    fn rows<'b>(self, start: usize, len: usize, decoded: &'b mut Vec<f32>) -> Mat<'b>
    where
        'a: 'b,
    {
        match self {
            Self::Whole(all) => all.rows(start, len),
            Self::Kept(all) => all.decoded(start..start + len, decoded),
        }
    }
}

/// Queries of a chunk, or of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queries<'a> {
    /// `[rows, D]`, at most [`QUERIES`](crate::cpu::block::QUERIES) of a block
    pub(super) q: Mat<'a>,
    /// Token of the first of them.
    pub(super) first: usize,
    /// The factor of their products with keys.
    pub(super) scale: f32,
}

/// Blocks that look up clusters together, so that each cluster is read once for all of them.
const TOGETHER: usize = 4;

/// The states of some blocks of queries, and buffers.
#[derive(Default)]
pub(super) struct Attending {
    blocks: Vec<OneBlock>,
    lookup: Lookup,
    opened: Opened,
    unpacked: Unpacked,
}

impl Attending {
    /// Attends the queries of a chunk, or some of them, to everything they see, with lookups of
    /// each query's best clusters. `done` receives the state of each block, and the numbers of its
    /// queries.
    pub(super) fn attend_chunk(
        &mut self,
        chunk: Queries<'_>,
        near: Near<'_>,
        shared: &impl SharedKeys,
        seen: Seen,
        settings: &BlockAttention,
        mut done: impl FnMut(Range<usize>, &OneBlock),
    ) {
        let all: Vec<_> = blocks(0..chunk.q.height()).collect();
        for some in all.chunks(TOGETHER) {
            let queries = some.iter().map(|block| Queries {
                q: chunk.q.rows(block.start, block.len()),
                first: chunk.first + block.start,
                ..chunk
            });
            let queries: Vec<_> = queries.collect();
            self.attend(&queries, near, shared, seen, settings);
            for (block, one) in some.iter().zip(&self.blocks) {
                done(block.clone(), one);
            }
        }
    }

    /// The same for at most [`TOGETHER`] blocks, whose states are the first of `blocks`.
    fn attend(
        &mut self,
        queries: &[Queries<'_>],
        near: Near<'_>,
        shared: &impl SharedKeys,
        seen: Seen,
        settings: &BlockAttention,
    ) {
        let best = settings.exact_clusters;
        if self.blocks.len() < queries.len() {
            self.blocks.resize_with(queries.len(), OneBlock::default);
        }
        let Self {
            blocks,
            lookup,
            opened,
            unpacked,
        } = self;
        let blocks = &mut blocks[..queries.len()];
        if seen.merged > 0 {
            for (block, queries) in blocks.iter_mut().zip(queries) {
                let Queries { q, first, scale } = *queries;
                block.block.begin(q, q.t().height(), scale);
                block.attend_list(first, near, shared, seen.window());
                block.score_spans(shared, seen, settings.spans.opened);
            }
            lookup.begin(queries.first().map_or(0, |queries| queries.q.t().height()));
            for (one, queries) in blocks.iter().zip(queries) {
                lookup.add(&one.block, queries.q, queries.scale);
            }
            opened.prepare(blocks, lookup, shared, unpacked, seen, settings);
            opened.attend(blocks, lookup, shared, unpacked, seen);
            return;
        }
        for (block, queries) in blocks.iter_mut().zip(queries) {
            block.attend(*queries, near, shared, seen, best);
        }
        let clusters = seen.clusters();
        if best == 0 {
            return;
        }
        if best >= clusters {
            for cluster in 0..clusters {
                let tokens = shared.decoded(cluster, unpacked);
                blocks.iter_mut().for_each(|block| block.take_whole(tokens));
            }
            return;
        }
        lookup.begin(queries.first().map_or(0, |queries| queries.q.t().height()));
        for (one, queries) in blocks.iter().zip(queries) {
            lookup.add(&one.block, queries.q, queries.scale);
        }
        let mut from = 0;
        while let Some(cluster) = next_chosen(blocks, from) {
            lookup.gather(blocks, cluster);
            let tokens = shared.looked_up(cluster, unpacked);
            lookup.look_into(tokens, |query, max| raise(blocks, query, max));
            from = cluster + 1;
        }
        let mut first = 0;
        for one in blocks {
            lookup.finish(&mut one.block, first);
            first += one.block.rows();
        }
    }
}

/// Scores some keys of a list: from a number on, so many.
fn score(
    block: &mut Block,
    shared: &impl SharedKeys,
    (list, start, len): (List, usize, usize),
    decoded: &mut Vec<f32>,
) {
    let coded = shared.coded(list, 0, start, len);
    match coded.filter(|_| block.rows() == 1) {
        Some(coded) => block.score_one(len, |query, to| coded.multiply(query, to)),
        None => block.score(shared.listed(list, 0, start, len, decoded)),
    }
}

/// Adds the values of these keys, which are scored from number `at` on.
fn add_values(
    block: &mut Block,
    at: usize,
    shared: &impl SharedKeys,
    (list, start, len): (List, usize, usize),
    decoded: &mut Vec<f32>,
) {
    let coded = shared.coded(list, 1, start, len);
    match coded.filter(|_| block.rows() == 1) {
        Some(coded) => block.add_values_of_one(at, len, |weights, sum| {
            coded.add_weighted(weights, sum);
        }),
        None => block.add_values(at, shared.listed(list, 1, start, len, decoded)),
    }
}

/// The first cluster from number `from` on that any query looks up.
pub(super) fn next_chosen(blocks: &[OneBlock], from: usize) -> Option<usize> {
    let next = blocks.iter().filter_map(|one| one.chosen.next(from));
    next.min()
}

/// Raises the reference of a query's weights to a larger score; the query is numbered across all
/// blocks.
pub(super) fn raise(blocks: &mut [OneBlock], mut query: usize, max: f32) -> f32 {
    for one in blocks {
        if let Some(behind) = query.checked_sub(one.block.rows()) {
            query = behind;
        } else {
            return one.block.raise(query, max);
        }
    }
    debug_assert!(false, "queries are counted over these blocks");
    1.0
}

/// The state of a block of queries, and buffers.
#[derive(Default)]
pub(super) struct OneBlock {
    pub(super) block: Block,
    pub(super) chosen: Chosen,
    /// Buffer for decoded keys or values.
    decoded: Vec<f32>,
}

impl OneBlock {
    /// Attends a block of queries to everything it sees except the tokens of looked-up clusters,
    /// which are chosen here.
    fn attend(
        &mut self,
        queries: Queries<'_>,
        near: Near<'_>,
        shared: &impl SharedKeys,
        seen: Seen,
        best: usize,
    ) {
        let Queries { q, first, scale } = queries;
        self.block.begin(q, q.t().height(), scale);
        if best == 0 {
            self.attend_list(first, near, shared, seen);
            return;
        }
        self.attend_list(first, near, shared, seen.window());
        let Self {
            block,
            chosen,
            decoded,
            ..
        } = self;
        let clusters = seen.clusters();
        if best >= clusters {
            // Only sinks: the tokens of every cluster replace it.
            if seen.sinks > 0 {
                block.next_step();
                score(block, shared, (List::Clusters, 0, seen.sinks), decoded);
                block.weigh(0..0);
                add_values(block, 0, shared, (List::Clusters, 0, seen.sinks), decoded);
            }
            return;
        }
        let at_once = shared.at_once().min(seen.keys);
        let parts = (0..seen.keys).step_by(at_once);
        let parts = parts.map(|start| (start, at_once.min(seen.keys - start)));
        block.next_step();
        for (start, len) in parts.clone() {
            score(block, shared, (List::Clusters, start, len), decoded);
        }
        block.add_bias(0, shared.bias(0, seen.keys));
        chosen.choose(block, seen.sinks, clusters, best);
        block.weigh(seen.sinks..seen.keys);
        for (start, len) in parts {
            add_values(block, start, shared, (List::Clusters, start, len), decoded);
        }
    }

    /// Scores everything that a block of queries with spans sees, except its window and the
    /// clusters of merged ones. The merged clusters that each query opens are chosen here.
    pub(super) fn score_spans(&mut self, shared: &impl SharedKeys, seen: Seen, opened: usize) {
        let Self {
            block,
            chosen,
            decoded,
        } = self;
        block.next_step();
        let mut number = 0;
        for (list, start, len) in seen.parts(shared.at_once()) {
            score(block, shared, (list, start, len), decoded);
            let bias = match list {
                List::Clusters => shared.bias(start, len),
                List::Merged => shared.merged_bias(start, len),
            };
            block.add_bias(number, bias);
            number += len;
        }
        match opened {
            0 => chosen.clear(),
            _ => chosen.choose(block, seen.sinks, seen.merged, opened),
        }
    }

    /// Adds what [`score_spans`](Self::score_spans) has scored, and what has not been hidden
    /// since, to the softmax.
    pub(super) fn weigh_spans(&mut self, shared: &impl SharedKeys, seen: Seen) {
        let Self { block, decoded, .. } = self;
        block.weigh(seen.sinks..seen.sinks + seen.merged + seen.unmerged());
        let mut number = 0;
        for (list, start, len) in seen.parts(shared.at_once()) {
            add_values(block, number, shared, (list, start, len), decoded);
            number += len;
        }
    }

    /// Attends all queries to all tokens of a cluster. They are scored like near tokens, so only
    /// the order of sums differs from attention to all tokens.
    fn take_whole(&mut self, tokens: Members<'_>) {
        if tokens.count > 0 {
            let [keys, values] = tokens.matrices();
            self.block.next_step();
            self.block.score(keys);
            self.block.weigh(0..0);
            self.block.add_values(0, values);
        }
    }

    /// Writes the output of the block.
    pub(super) fn write(&self, rows: &mut [&mut [f32]]) {
        let block = &self.block;
        vectorised(
            #[inline(always)]
            || {
                for (query, out) in rows.iter_mut().enumerate() {
                    let norm = 1.0 / block.sum(query);
                    for (out, acc) in out.iter_mut().zip(block.unnormalised(query)) {
                        *out = acc * norm;
                    }
                }
            },
        );
    }

    /// One softmax over everything that a block sees.
    fn attend_list(&mut self, first: usize, near: Near<'_>, shared: &impl SharedKeys, seen: Seen) {
        let Self { block, decoded, .. } = self;
        for step in seen.steps(first + block.rows()) {
            let (tokens, others) = (step.tokens.len(), step.shared.len());
            let (start, start_shared) = (step.tokens.start, step.shared.start);
            block.next_step();
            block.score(near.k.rows(start - near.first, tokens, decoded));
            block.hide_later(0, tokens, start as isize - first as isize);
            let list = (List::Clusters, start_shared, others);
            score(block, shared, list, decoded);
            block.add_bias(tokens, shared.bias(start_shared, others));
            let sinks = seen.sinks.saturating_sub(start_shared).min(others);
            block.weigh(tokens + sinks..tokens + others);
            block.add_values(0, near.v.rows(start - near.first, tokens, decoded));
            add_values(block, tokens, shared, list, decoded);
        }
    }
}
