//! One softmax of a block of queries over all that they see.

use super::choose::Chosen;
use super::lookup::Lookup;
use super::plan::Seen;
use super::tokens::{Members, Unpacked};
use crate::cpu::block::Block;
use crate::cpu::math::vectorised;
use crate::cpu::matrix::Mat;

/// Keys that all queries of a chunk see: sinks, then clusters of far chunks.
pub(super) trait SharedKeys {
    /// Keys from number `start` on. `[len, D]`
    fn keys(&self, start: usize, len: usize) -> Mat<'_>;

    /// Values from number `start` on. `[len, D]`
    fn values(&self, start: usize, len: usize) -> Mat<'_>;

    /// What is added to the scores from number `start` on, in units of ln 2: 0 for sinks, log₂ m
    /// for clusters.
    fn bias(&self, start: usize, len: usize) -> &[f32];

    /// The tokens of a cluster that is looked up, counted from the first cluster.
    fn looked_up<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a>;

    /// The same, as themselves where they are kept as codes.
    fn decoded<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a> {
        self.looked_up(cluster, unpacked)
    }
}

/// Tokens of which the near ones are seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near<'a> {
    /// Keys `[n, D]` and values `[n, D]` of tokens from number `first` on.
    pub(super) k: Mat<'a>,
    pub(super) v: Mat<'a>,
    pub(super) first: usize,
}

/// Queries of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queries<'a> {
    /// `[rows, D]`, at most [`QUERIES`](crate::cpu::block::QUERIES)
    pub(super) q: Mat<'a>,
    /// Token of the first of them.
    pub(super) first: usize,
    /// What their products with keys are multiplied by.
    pub(super) scale: f32,
}

/// The state of a block of queries, and buffers.
pub(super) struct Attending {
    pub(super) block: Block,
    chosen: Chosen,
    lookup: Lookup,
}

impl Attending {
    pub(super) fn new() -> Self {
        Self {
            block: Block::new(),
            chosen: Chosen::default(),
            lookup: Lookup::default(),
        }
    }

    /// Attends a block of queries to what it sees, the `best` best clusters of each query token by
    /// token.
    pub(super) fn attend(
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
        let clusters = seen.clusters();
        if best >= clusters {
            self.attend_all(shared, seen);
            return;
        }
        let Self {
            block,
            chosen,
            lookup,
        } = self;
        block.next_step();
        block.score(shared.keys(0, seen.keys));
        block.add_bias(0, shared.bias(0, seen.keys));
        chosen.choose(block, seen.sinks, clusters, best);
        block.weigh(seen.sinks..seen.keys);
        block.add_values(0, shared.values(0, seen.keys));
        lookup.attend(block, (q, scale), chosen, shared);
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

    /// One softmax over all that a block sees.
    fn attend_list(&mut self, first: usize, near: Near<'_>, shared: &impl SharedKeys, seen: Seen) {
        let block = &mut self.block;
        for step in seen.steps(first + block.rows()) {
            let (tokens, others) = (step.tokens.len(), step.shared.len());
            let (start, start_shared) = (step.tokens.start, step.shared.start);
            let (keys, values) = (
                near.k.rows(start - near.first, tokens),
                near.v.rows(start - near.first, tokens),
            );
            block.next_step();
            block.score(keys);
            block.hide_later(0, tokens, start as isize - first as isize);
            block.score(shared.keys(start_shared, others));
            block.add_bias(tokens, shared.bias(start_shared, others));
            let sinks = seen.sinks.saturating_sub(start_shared).min(others);
            block.weigh(tokens + sinks..tokens + others);
            block.add_values(0, values);
            block.add_values(tokens, shared.values(start_shared, others));
        }
    }

    /// Sinks, and the tokens of all clusters. They are scored as near ones are, so that nothing
    /// differs from attention to all tokens but the order of sums.
    fn attend_all(&mut self, shared: &impl SharedKeys, seen: Seen) {
        let Self { block, lookup, .. } = self;
        if seen.sinks > 0 {
            block.next_step();
            block.score(shared.keys(0, seen.sinks));
            block.weigh(0..0);
            block.add_values(0, shared.values(0, seen.sinks));
        }
        for cluster in 0..seen.clusters() {
            lookup.take_whole(block, cluster, shared);
        }
    }
}
