//! CPU forward pass: head by head, each chunk one softmax over a short list of keys.

use rayon::prelude::*;

use super::BlockAttention;
use super::far::{Far, HeadState, Mixture};
use super::lookup::Lookup;
use crate::cpu::block::{Block, QUERIES};
use crate::cpu::math::vectorised;
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::Heads;

/// The most keys in a step of the online softmax.
const KEYS: usize = 384;

/// The output laid out as `[B, N, H, D]`. `states` has the form of each head's states.
pub(super) fn forward(
    [q, k, v]: [Heads<'_>; 3],
    states: &[HeadState<'_>],
    settings: &BlockAttention,
    scale: f32,
) -> Vec<f32> {
    let [b, h, n, d] = q.shape;
    let mut out = vec![0.0; b * n * h * d];
    if out.is_empty() {
        return out;
    }
    // The rows of each head, which lie apart from each other.
    let mut heads: Vec<Vec<&mut [f32]>> = (0..b * h).map(|_| Vec::with_capacity(n)).collect();
    for (i, row) in out.chunks_exact_mut(d).enumerate() {
        heads[i / (n * h) * h + i % h].push(row);
    }
    // Heads one after the other, so that the summaries of a few are held at a time.
    let heads = heads.into_par_iter().zip(0..b * h);
    heads.with_max_len(1).for_each(|(mut rows, number)| {
        let (batch, head) = (number / h, number % h);
        let [q, k, v] = [q, k, v].map(|x| x.head(batch, head));
        let state = states[head];
        let far = Far::new(settings, state, settings.far_chunks(n), [k, v], d);
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
        one.attend_all(&mut rows);
    });
    out
}

/// One head of one sequence.
struct Head<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    d: usize,
    state: HeadState<'a>,
    far: Far,
    settings: &'a BlockAttention,
    scale: f32,
}

/// Buffers for the chunks of a head.
struct Scratch {
    block: Block,
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
            lookup: Lookup::default(),
            mixture: Mixture::default(),
            receiver: Vec::new(),
            read: Vec::new(),
        }
    }
}

/// What the queries of a chunk attend to besides their own window.
#[derive(Clone, Copy)]
struct Shared {
    /// Sinks, which are no clusters.
    sinks: usize,
    /// Sinks and clusters.
    keys: usize,
}

impl Head<'_> {
    /// Writes all rows of the output.
    fn attend_all(&self, rows: &mut [&mut [f32]]) {
        let size = self.settings.chunk_size;
        // The sinks go with the first chunk, which sees the same as they do.
        let first = (self.settings.sinks + size).min(rows.len());
        let (head, tail) = rows.split_at_mut(first);
        let mut chunks = vec![head];
        chunks.extend(tail.chunks_mut(size));
        let chunks = chunks.into_par_iter().enumerate().with_max_len(1);
        chunks.for_each_init(Scratch::new, |scratch, (chunk, rows)| {
            self.attend(chunk, rows, scratch);
        });
    }

    /// Writes the rows of one chunk.
    fn attend(&self, chunk: usize, rows: &mut [&mut [f32]], scratch: &mut Scratch) {
        let settings = self.settings;
        let first = match chunk {
            0 => 0,
            chunk => settings.start_of(chunk),
        };
        let (near, shared) = if chunk <= settings.near_chunks {
            (0, Shared { sinks: 0, keys: 0 })
        } else {
            let far = settings.far_of(chunk);
            let shared = Shared {
                sinks: settings.sinks,
                keys: settings.sinks + far * settings.clusters,
            };
            self.mix(first, far, scratch);
            (settings.start_of(far), shared)
        };
        // Blocks of about the same number of queries.
        let blocks = rows.len().div_ceil(QUERIES);
        let size = rows.len().div_ceil(blocks);
        let mut start = first;
        for rows in rows.chunks_mut(size) {
            let q = self.q.rows(start, rows.len());
            scratch.block.begin(q, self.d, self.scale);
            if settings.exact_clusters == 0 {
                self.attend_list(&mut scratch.block, near, start, shared);
            } else {
                self.look_up(scratch, q, near, start, shared);
            }
            self.write(scratch, rows, shared);
            start += rows.len();
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

    /// One softmax over the window, which begins with token `near`, and shared keys.
    /// The block's first query is token `first`.
    fn attend_list(&self, block: &mut Block, near: usize, first: usize, shared: Shared) {
        let window = first + block.rows() - near;
        let total = window + shared.keys;
        let step = total.div_ceil(total.div_ceil(KEYS));
        for from in (0..total).step_by(step) {
            let to = (from + step).min(total);
            let (start, end) = (near + from.min(window), near + to.min(window));
            let tokens = end - start;
            block.next_step();
            block.score(self.k.rows(start, tokens));
            block.hide_later(0, tokens, start as isize - first as isize);
            let (start_shared, end_shared) =
                (from.saturating_sub(window), to.saturating_sub(window));
            let others = end_shared - start_shared;
            block.score(self.far.keys(start_shared, others));
            block.add_bias(tokens, self.far.bias(start_shared, others));
            let sinks = shared.sinks.saturating_sub(start_shared).min(others);
            block.weigh(tokens + sinks..tokens + others);
            block.add_values(0, self.v.rows(start, tokens));
            block.add_values(tokens, self.far.values(start_shared, others));
        }
    }

    /// The same, but each query's best clusters give way to their tokens.
    fn look_up(
        &self,
        scratch: &mut Scratch,
        q: Mat<'_>,
        near: usize,
        first: usize,
        shared: Shared,
    ) {
        let Scratch { block, lookup, .. } = scratch;
        let none = Shared { sinks: 0, keys: 0 };
        self.attend_list(block, near, first, none);
        let clusters = shared.keys - shared.sinks;
        block.next_step();
        block.score(self.far.keys(0, shared.keys));
        block.add_bias(0, self.far.bias(0, shared.keys));
        lookup.choose(
            block,
            shared.sinks,
            clusters,
            self.settings.exact_clusters.min(clusters),
        );
        block.weigh(shared.sinks..shared.keys);
        block.add_values(0, self.far.values(0, shared.keys));
        if let Some(tokens) = &self.far.tokens {
            lookup.attend(block, q, tokens, self.scale);
        }
    }

    /// Writes the rows of a block, with what the state adds.
    fn write(&self, scratch: &mut Scratch, rows: &mut [&mut [f32]], shared: Shared) {
        let (d, block) = (self.d, &scratch.block);
        let corrected = !matches!(self.state, HeadState::Off) && shared.keys > shared.sinks;
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
