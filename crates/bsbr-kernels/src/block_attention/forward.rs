//! CPU forward pass: head by head, each chunk one softmax over a short list of keys.

use rayon::prelude::*;

use super::BlockAttention;
use super::far::{Far, HeadState, Mixture};
use super::plan::Seen;
use super::queries::{Attending, Near, NearRows, OneBlock, Queries};
use crate::cpu::block::QUERIES;
use crate::cpu::math::vectorised;
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::{Heads, rows_of_heads};

/// The rows of a head.
type Rows<'a> = Vec<&'a mut [f32]>;

/// Chunks per thread of a head whose last chunks may leave a thread without work.
const ENOUGH: usize = 16;

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
    let attend = |(number, (mut rows, mut sums)): (usize, (Rows<'_>, Rows<'_>))| {
        let (batch, head) = (number / h, number % h);
        let [q, k, v] = [q, k, v].map(|x| x.head(batch, head));
        let state = states[head];
        let settings = settings.of_head(head);
        let far = Far::new(&settings, state, settings.grid.far_chunks(n), [k, v], d);
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
    };
    // One far field at a time, in this thread's part of the heap, if each has work for all threads.
    match settings.query_chunks(n) >= ENOUGH * rayon::current_num_threads() {
        true => rows.into_iter().zip(sums).enumerate().for_each(attend),
        false => {
            let heads = rows.into_par_iter().zip(sums).enumerate();
            heads.with_max_len(1).for_each(attend);
        }
    }
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
#[derive(Default)]
struct Scratch {
    attending: Attending,
    mixture: Mixture,
    receiver: Vec<f32>,
    /// What the block's queries read from the state. `[QUERIES, D]`
    read: Vec<f32>,
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
        chunks.for_each_init(Scratch::default, |scratch, (chunk, (rows, sums))| {
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
        if seen.far > 0 {
            self.mix(queries.start, seen.far, scratch);
        }
        let near = Near {
            k: NearRows::Whole(self.k),
            v: NearRows::Whole(self.v),
            first: 0,
        };
        let chunk = Queries {
            q: self.q.rows(queries.start, queries.len()),
            first: queries.start,
            scale: self.scale,
        };
        let Scratch {
            attending,
            mixture,
            read,
            ..
        } = scratch;
        let (far, settings) = (&self.far, &self.settings);
        attending.attend_chunk(chunk, near, far, seen, settings, |block, one| {
            self.write(one, mixture, read, &mut rows[block.clone()], seen);
            for (query, sum) in sums[block].iter_mut().enumerate() {
                sum.fill(one.block.log_sum_exp(query));
            }
        });
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

    /// Writes the rows of a block, including what it reads from the state, with a buffer `read`.
    fn write(
        &self,
        one: &OneBlock,
        mixture: &Mixture,
        read: &mut Vec<f32>,
        rows: &mut [&mut [f32]],
        seen: Seen,
    ) {
        one.write(rows);
        if matches!(self.state, HeadState::Off) || seen.clusters() == 0 {
            return;
        }
        let (d, block) = (self.d, &one.block);
        read.resize(QUERIES * d, 0.0);
        block.multiply(Mat::dense(&mixture.state, d, d), read);
        vectorised(
            #[inline(always)]
            || {
                for (query, out) in rows.iter_mut().enumerate() {
                    let share = block.mass(query) / block.sum(query);
                    for (out, read) in out.iter_mut().zip(&read[query * d..]) {
                        *out += share * read;
                    }
                }
            },
        );
    }
}
