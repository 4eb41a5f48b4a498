//! The contributions of the queries in a range of chunks.

use std::ops::Range;

use super::Head;
use super::looked_up::LookedUp;
use super::routing::RoutingRows;
use super::state::{self, BasisGradients};
use super::weights::Weights;
use crate::block_attention::far::{HeadState, Mixture};
use crate::block_attention::lookup::Lookup;
use crate::block_attention::opened::Opened;
use crate::block_attention::plan::{List, Seen, Step, blocks};
use crate::block_attention::queries::{OneBlock, SharedKeys};
use crate::block_attention::tokens::Unpacked;
use crate::cpu::math::{row_add, vectorised};
use crate::cpu::matrix::{Mat, product};

/// Gradients of keys and of values. `[.., D]`
type Pair = [Vec<f32>; 2];

/// The contributions of a range of chunks to the gradients of everything its queries see.
#[derive(Debug)]
pub(super) struct Part {
    d: usize,
    /// First token of the first window.
    first: usize,
    /// Of the tokens of all windows.
    window: Pair,
    /// Of the sinks and clusters that are shared keys.
    shared: Pair,
    /// Of the merged clusters.
    merged: Pair,
    /// Of the tokens of the far chunks, cluster by cluster, if they are looked up.
    pub(super) looked_up: Pair,
    pub(super) bases: BasisGradients,
}

/// Buffers for a range.
#[derive(Default)]
pub(super) struct Scratch {
    weights: Weights,
    looked_up: LookedUp,
    opened: Opened,
    lookup: Lookup,
    mixture: Mixture,
    receiver: Vec<f32>,
    /// Gradients of a block's queries. `[rows, D]`
    dq: Vec<f32>,
    /// Gradients of the output times the mass on clusters. `[rows, D]`
    massive: Vec<f32>,
    /// Gradient of S, if M has a different form. `[D, D]`
    whole: Vec<f32>,
    state: state::Scratch,
}

impl Part {
    /// Processes the chunks of `range`; `rows` are the gradients of their queries.
    /// `routing` has a row for each chunk with a far field.
    pub(super) fn new(
        head: &Head<'_>,
        range: Range<usize>,
        mut rows: &mut [&mut [f32]],
        mut routing: RoutingRows<'_>,
        scratch: &mut Scratch,
    ) -> Self {
        let (settings, d) = (head.settings, head.d);
        let (first, last) = (settings.seen(range.start), settings.seen(range.end - 1));
        let end = settings.queries(range.end - 1, head.tokens()).end;
        let looked_up = match settings.exact_clusters {
            0 => 0,
            _ => last.far * settings.grid.chunk_size,
        };
        let zeros = |rows: usize| [(); 2].map(|()| vec![0.0; rows * d]);
        let mut part = Self {
            d,
            first: first.near,
            window: zeros(end - first.near),
            shared: zeros(last.keys),
            merged: zeros(last.merged),
            looked_up: zeros(looked_up),
            bases: BasisGradients::new(head),
        };
        let mut row = 0;
        for chunk in range {
            let (seen, queries) = (settings.seen(chunk), settings.queries(chunk, head.tokens()));
            let rows = rows.split_off_mut(..queries.len()).unwrap_or_default();
            if seen.far > 0 && head.reads_states() {
                part.reading(head, queries, seen, rows, (&mut routing, row), scratch);
                row += 1;
            } else {
                for block in blocks(queries.clone()) {
                    let rows = &mut rows[block.start - queries.start..block.end - queries.start];
                    part.block(head, block, seen, None, rows, scratch);
                }
            }
        }
        routing.finish(&head.far, head.scale);
        part
    }

    /// One chunk, which reads a mixture of states.
    fn reading(
        &mut self,
        head: &Head<'_>,
        queries: Range<usize>,
        seen: Seen,
        rows: &mut [&mut [f32]],
        (routing, row): (&mut RoutingRows<'_>, usize),
        scratch: &mut Scratch,
    ) {
        let d = head.d;
        let receiver = &mut scratch.receiver;
        receiver.resize(d, 0.0);
        head.q.copy_row(queries.start - 1, receiver);
        receiver.iter_mut().for_each(|x| *x *= head.scale);
        let mut mixture = std::mem::take(&mut scratch.mixture);
        head.far.mix(head.state, receiver, seen.far, &mut mixture);
        routing.set(row, &mixture.weights, receiver);
        let mut whole = std::mem::take(&mut scratch.whole);
        whole.clear();
        whole.resize(d * d, 0.0);
        let state = Mat::dense(&mixture.state, d, d);
        for block in blocks(queries.clone()) {
            let rows = &mut rows[block.start - queries.start..block.end - queries.start];
            let state = Some((state, whole.as_mut_slice()));
            self.block(head, block, seen, state, rows, scratch);
        }
        let to = routing.mixture(row);
        match head.state {
            HeadState::Compressed { .. } => {
                let compress = &mut scratch.state;
                compress.compress(head, &whole, &mixture.mixed, to, &mut self.bases);
            }
            HeadState::Whole | HeadState::Off => to.copy_from_slice(&whole),
        }
        (scratch.mixture, scratch.whole) = (mixture, whole);
    }

    /// One block of queries. They read a state, if any, to whose gradient the block adds.
    fn block(
        &mut self,
        head: &Head<'_>,
        queries: Range<usize>,
        seen: Seen,
        state: Option<(Mat<'_>, &mut [f32])>,
        rows: &mut [&mut [f32]],
        scratch: &mut Scratch,
    ) {
        let d = head.d;
        let (first, len) = (queries.start, queries.len());
        let Scratch {
            weights,
            looked_up,
            opened,
            lookup,
            dq,
            massive,
            ..
        } = scratch;
        dq.clear();
        dq.resize(len * d, 0.0);
        weights.begin(
            head,
            queries.clone(),
            state.as_ref().map(|(state, _)| *state),
        );
        if seen.merged > 0 {
            for step in seen.window().steps(queries.end) {
                weights.score(head, &step, first);
                weights.differentiate(&step, seen.window());
                self.take(head, weights, &step, &queries, dq);
            }
            weights.score_spans(head, seen);
            lookup.begin(d);
            lookup.add(&weights.one.block, head.q.rows(first, len), head.scale);
            opened.prepare(
                std::slice::from_mut(&mut weights.one),
                lookup,
                &head.far,
                &mut Unpacked::default(),
                seen,
                &head.settings,
            );
            let step = Step {
                tokens: first..first,
                shared: 0..seen.sinks + seen.merged + seen.unmerged(),
            };
            weights.differentiate(&step, seen);
            self.take_spans(head, weights, seen, &queries, dq);
            let of = &mut weights.queries;
            looked_up.open(head, of, &queries, opened, &mut self.shared, dq);
            let tokens = opened.looked_up();
            looked_up.take(head, of, &queries, tokens, &mut self.looked_up, dq);
        } else if head.settings.exact_clusters == 0 {
            for step in seen.steps(queries.end) {
                weights.score(head, &step, first);
                weights.differentiate(&step, seen);
                self.take(head, weights, &step, &queries, dq);
            }
        } else {
            for step in seen.window().steps(queries.end) {
                weights.score(head, &step, first);
                weights.differentiate(&step, seen.window());
                self.take(head, weights, &step, &queries, dq);
            }
            let step = Step {
                tokens: first..first,
                shared: 0..seen.keys,
            };
            weights.score(head, &step, first);
            // The choice of the forward pass, from the same scores of all shared keys.
            let OneBlock { block, chosen, .. } = &mut weights.one;
            let best = head.settings.exact_clusters.min(seen.clusters());
            chosen.choose(block, seen.sinks, seen.clusters(), best);
            weights.differentiate(&step, seen);
            self.take(head, weights, &step, &queries, dq);
            let clusters = weights.one.chosen.clusters();
            let of = &weights.queries;
            looked_up.take(head, of, &queries, clusters, &mut self.looked_up, dq);
        }
        if let Some((state, of_state)) = state {
            let (q, grad) = (head.q.rows(first, len), head.grad.rows(first, len));
            massive.resize(len * d, 0.0);
            for (row, massive) in massive.chunks_exact_mut(d).enumerate() {
                grad.copy_row(row, massive);
                let mass = weights.queries.mass[row];
                massive.iter_mut().for_each(|x| *x *= mass);
            }
            let massive = Mat::dense(massive, len, d);
            product(dq, massive, state.t(), head.scale, true);
            product(of_state, q.t(), massive, head.scale, true);
        }
        for (row, dq) in rows.iter_mut().zip(dq.chunks_exact(d)) {
            row.copy_from_slice(dq);
        }
    }

    /// Adds the keys of a step.
    fn take(
        &mut self,
        head: &Head<'_>,
        weights: &mut Weights,
        step: &Step,
        queries: &Range<usize>,
        dq: &mut [f32],
    ) {
        let (tokens, others) = (step.tokens.len(), step.shared.len());
        let of_tokens = head.k.rows(step.tokens.start, tokens);
        // With gradients, nothing is stored in few bits.
        let mut decoded = Vec::new();
        let of_others = head.far.rows(0, step.shared.start, others, &mut decoded);
        let at = step.tokens.start.saturating_sub(self.first);
        for (start, keys, at, to) in [
            (0, of_tokens, at, &mut self.window),
            (tokens, of_others, step.shared.start, &mut self.shared),
        ] {
            add(head, weights, queries, [start, at], keys, to, dq);
        }
    }

    /// Adds what queries with spans see besides their window, except the clusters of merged ones.
    fn take_spans(
        &mut self,
        head: &Head<'_>,
        weights: &mut Weights,
        seen: Seen,
        queries: &Range<usize>,
        dq: &mut [f32],
    ) {
        let mut decoded = Vec::new();
        let mut number = 0;
        for (list, start, len) in seen.parts(usize::MAX) {
            let (keys, to) = match list {
                List::Clusters => (head.far.rows(0, start, len, &mut decoded), &mut self.shared),
                List::Merged => (
                    head.far.merged(0, start, len, &mut decoded),
                    &mut self.merged,
                ),
            };
            add(head, weights, queries, [number, start], keys, to, dq);
            number += len;
        }
    }

    /// Adds the contribution of the windows to the gradients of tokens from `first` on.
    pub(super) fn add_window(&self, first: usize, rows: [&mut [&mut [f32]]; 2]) {
        let d = self.d;
        let start = first.max(self.first);
        vectorised(
            #[inline(always)]
            || {
                for (rows, window) in rows.into_iter().zip(&self.window) {
                    let rows = rows.iter_mut().skip(start - first);
                    let from = window.get((start - self.first) * d..).unwrap_or_default();
                    for (row, from) in rows.zip(from.chunks_exact(d)) {
                        row_add(row, from);
                    }
                }
            },
        );
    }

    /// Adds a share of the contribution to the gradients of a merged cluster.
    #[inline(always)]
    pub(super) fn add_merged(&self, merged: usize, share: f32, to: [&mut [f32]; 2]) {
        let d = self.d;
        for (to, from) in to.into_iter().zip(&self.merged) {
            if let Some(from) = from.get(merged * d..(merged + 1) * d) {
                for (to, from) in to.iter_mut().zip(from) {
                    *to += share * from;
                }
            }
        }
    }

    /// Adds the contribution to the gradients of a shared key and its value.
    #[inline(always)]
    pub(super) fn add_shared(&self, number: usize, to: [&mut [f32]; 2]) {
        let d = self.d;
        for (to, from) in to.into_iter().zip(&self.shared) {
            if let Some(from) = from.get(number * d..(number + 1) * d) {
                row_add(to, from);
            }
        }
    }
}

/// Adds the keys of a step from number `start` on to the gradients from number `at` on, and to
/// those of the queries.
fn add(
    head: &Head<'_>,
    weights: &mut Weights,
    queries: &Range<usize>,
    [start, at]: [usize; 2],
    keys: Mat<'_>,
    to: &mut Pair,
    dq: &mut [f32],
) {
    let (d, scale, len, n) = (head.d, head.scale, queries.len(), keys.height());
    if n == 0 {
        return;
    }
    let q = head.q.rows(queries.start, len);
    let grad = head.grad.rows(queries.start, len);
    let [of_keys, of_values] = to.each_mut().map(|to| &mut to[at * d..]);
    product(of_values, weights.weights(start, n), grad, 1.0, true);
    let slopes = weights.slopes(start, n);
    product(of_keys, slopes, q, scale, true);
    product(dq, slopes.t(), keys, scale, true);
}
