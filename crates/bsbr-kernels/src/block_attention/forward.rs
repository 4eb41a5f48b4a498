//! CPU forward pass: head by head, each chunk one softmax over a short list of keys.

use rayon::prelude::*;

use super::BlockAttention;
use super::choose::Chosen;
use super::far::{Far, HeadState, Mixture};
use super::lookup::Lookup;
use super::plan::{Seen, blocks};
use crate::cpu::block::{Block, QUERIES};
use crate::cpu::math::vectorised;
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::{Heads, rows_of_heads};

/// The output laid out as `[B, N, H, D]`, and the log-sum-exp of every query's scores
/// laid out as `[B, N, H]`. `states` has the form of each head's states.
pub(super) fn forward(
    [q, k, v]: [Heads<'_>; 3],
    states: &[HeadState<'_>],
    settings: &BlockAttention,
    scale: f32,
) -> (Vec<f32>, Vec<f32>) {
    let [b, h, n, d] = q.shape;
    let mut out = vec![0.0; b * n * h * d];
    let mut lse = vec![0.0; b * n * h];
    if out.is_empty() {
        return (out, lse);
    }
    let rows = rows_of_heads(&mut out, q.shape);
    let sums = rows_of_heads(&mut lse, [b, h, n, 1]);
    // Heads one after the other, so that the summaries of a few are held at a time.
    let heads = rows.into_par_iter().zip(sums).enumerate();
    heads
        .with_max_len(1)
        .for_each(|(number, (mut rows, mut sums))| {
            let (batch, head) = (number / h, number % h);
            let [q, k, v] = [q, k, v].map(|x| x.head(batch, head));
            let state = states[head];
            let settings = settings.of_head(head);
            let far = Far::new(&settings, state, settings.far_chunks(n), [k, v], d);
            let one = Head {
                q,
                k,
                v,
                d,
                state,
                far,
                settings,
                scale,
            };
            one.attend_all(&mut rows, &mut sums);
        });
    (out, lse)
}

/// One head of one sequence.
struct Head<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    d: usize,
    state: HeadState<'a>,
    far: Far,
    settings: BlockAttention,
    scale: f32,
}

/// Buffers for the chunks of a head.
struct Scratch {
    block: Block,
    chosen: Chosen,
    lookup: Lookup,
    mixture: Mixture,
    receiver: Vec<f32>,
    /// What the block's queries read of the state. `[QUERIES, D]`
    read: Vec<f32>,
}

impl Scratch {
    fn new() -> Self {
        Self {
            block: Block::new(),
            chosen: Chosen::default(),
            lookup: Lookup::default(),
            mixture: Mixture::default(),
            receiver: Vec::new(),
            read: Vec::new(),
        }
    }
}

impl Head<'_> {
    /// Writes all rows of the output, and the log-sum-exp of each.
    fn attend_all(&self, mut rows: &mut [&mut [f32]], mut sums: &mut [&mut [f32]]) {
        let tokens = rows.len();
        let chunks: Vec<_> = (0..self.settings.query_chunks(tokens))
            .map(|chunk| {
                let len = self.settings.queries(chunk, tokens).len();
                let rows = rows.split_off_mut(..len).unwrap_or_default();
                (rows, sums.split_off_mut(..len).unwrap_or_default())
            })
            .collect();
        let chunks = chunks.into_par_iter().enumerate().with_max_len(1);
        chunks.for_each_init(Scratch::new, |scratch, (chunk, (rows, sums))| {
            self.attend(chunk, rows, sums, scratch);
        });
    }

    /// Writes the rows of one chunk.
    fn attend(
        &self,
        chunk: usize,
        rows: &mut [&mut [f32]],
        sums: &mut [&mut [f32]],
        scratch: &mut Scratch,
    ) {
        let (seen, queries) = (
            self.settings.seen(chunk),
            self.settings.queries(chunk, self.q.height()),
        );
        let start = queries.start;
        if seen.far > 0 {
            self.mix(start, seen.far, scratch);
        }
        for block in blocks(queries) {
            let q = self.q.rows(block.start, block.len());
            scratch.block.begin(q, self.d, self.scale);
            if self.settings.exact_clusters == 0 {
                self.attend_list(&mut scratch.block, block.start, seen);
            } else {
                self.look_up(scratch, q, block.start, seen);
            }
            let range = block.start - start..block.end - start;
            let (rows, sums) = (&mut rows[range.clone()], &mut sums[range]);
            self.write(scratch, rows, seen);
            for (query, sum) in sums.iter_mut().enumerate() {
                sum.fill(scratch.block.log_sum_exp(query));
            }
        }
    }

    /// Mixes the state that a chunk reads.
    fn mix(&self, first: usize, far: usize, scratch: &mut Scratch) {
        if matches!(self.state, HeadState::Off) || self.settings.clusters == 0 {
            return;
        }
        let receiver = &mut scratch.receiver;
        receiver.resize(self.d, 0.0);
        self.q.copy_row(first - 1, receiver);
        for x in receiver.iter_mut() {
            *x *= self.scale;
        }
        self.far
            .mix(self.state, receiver, far, &mut scratch.mixture);
    }

    /// One softmax over all that a block sees, whose first query is token `first`.
    fn attend_list(&self, block: &mut Block, first: usize, seen: Seen) {
        for step in seen.steps(first + block.rows()) {
            let (tokens, others) = (step.tokens.len(), step.shared.len());
            let (start, start_shared) = (step.tokens.start, step.shared.start);
            block.next_step();
            block.score(self.k.rows(start, tokens));
            block.hide_later(0, tokens, start as isize - first as isize);
            block.score(self.far.keys(start_shared, others));
            block.add_bias(tokens, self.far.bias(start_shared, others));
            let sinks = seen.sinks.saturating_sub(start_shared).min(others);
            block.weigh(tokens + sinks..tokens + others);
            block.add_values(0, self.v.rows(start, tokens));
            block.add_values(tokens, self.far.values(start_shared, others));
        }
    }

    /// The same, but each query's best clusters give way to their tokens.
    fn look_up(&self, scratch: &mut Scratch, q: Mat<'_>, first: usize, seen: Seen) {
        let Scratch {
            block,
            chosen,
            lookup,
            ..
        } = scratch;
        self.attend_list(block, first, seen.window());
        let (clusters, best) = (seen.clusters(), self.settings.exact_clusters);
        block.next_step();
        block.score(self.far.keys(0, seen.keys));
        block.add_bias(0, self.far.bias(0, seen.keys));
        chosen.choose(block, seen.sinks, clusters, best.min(clusters));
        block.weigh(seen.sinks..seen.keys);
        block.add_values(0, self.far.values(0, seen.keys));
        lookup.attend(block, (q, self.scale), chosen, &self.far);
    }

    /// Writes the rows of a block, with what the state adds.
    fn write(&self, scratch: &mut Scratch, rows: &mut [&mut [f32]], seen: Seen) {
        let (d, block) = (self.d, &scratch.block);
        let corrected = !matches!(self.state, HeadState::Off) && seen.clusters() > 0;
        if corrected {
            let read = &mut scratch.read;
            read.resize(QUERIES * d, 0.0);
            let state = Mat::dense(&scratch.mixture.state, d, d);
            block.multiply(state, read);
        }
        let read = &scratch.read;
        vectorised(
            #[inline(always)]
            || {
                for (query, out) in rows.iter_mut().enumerate() {
                    let norm = 1.0 / block.sum(query);
                    for (out, acc) in out.iter_mut().zip(block.unnormalised(query)) {
                        *out = acc * norm;
                    }
                    if corrected {
                        let share = block.mass(query) * norm;
                        for (out, read) in out.iter_mut().zip(&read[query * d..]) {
                            *out += share * read;
                        }
                    }
                }
            },
        );
    }
}
