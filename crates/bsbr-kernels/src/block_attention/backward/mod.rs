//! CPU backward pass: head by head, recomputing the scores of each chunk's queries.
//!
//! A head processes its queries in ranges of chunks ([`range`]), which compute the
//! gradients of their queries, and contributions to those of tokens, clusters and mixed
//! states. Then it processes its tokens in groups of chunks ([`spread`]), which sum the
//! contributions of all ranges and distribute those of clusters and states over their
//! tokens. The bounds of ranges and groups do not depend on the number of threads, so
//! sums have the same order everywhere.

mod looked_up;
mod range;
mod routing;
mod spread;
mod state;
mod weights;

use rayon::prelude::*;

use super::BlockAttention;
use super::far::{Far, HeadState};
use crate::cpu::matrix::Mat;
use crate::cpu::tensor::{Heads, rows_of_heads};
use range::Part;
use routing::Routing;
use state::BasisGradients;

/// The approximate number of ranges in all heads together.
const RANGES: usize = 32;
/// Chunks in a group.
const GROUP: usize = 8;

/// Inputs and outputs of the forward pass, and the gradient of its output.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a> {
    pub(super) q: Heads<'a>,
    pub(super) k: Heads<'a>,
    pub(super) v: Heads<'a>,
    /// The form of each head's states.
    pub(super) states: &'a [HeadState<'a>],
    pub(super) out: Heads<'a>,
    /// Log-sum-exp as `[B, H, N, 1]`.
    pub(super) lse: Heads<'a>,
    pub(super) grad: Heads<'a>,
    pub(super) settings: &'a BlockAttention,
    pub(super) scale: f32,
}

/// Results of the backward pass.
pub(super) struct Gradients {
    /// Of q, k and v, laid out as `[B, N, H, D]`.
    pub(super) inputs: [Vec<f32>; 3],
    /// Of the bases of keys and values `[H, D, r]`; empty without bases.
    pub(super) bases: [Vec<f32>; 2],
}

pub(super) fn backward(saved: Saved<'_>) -> Gradients {
    let shape @ [b, h, n, d] = saved.q.shape;
    let mut inputs = [(); 3].map(|()| vec![0.0; b * n * h * d]);
    let mut of_bases = Vec::new();
    if !inputs[0].is_empty() {
        let [dq, dk, dv] = inputs.each_mut().map(|x| rows_of_heads(x, shape));
        let rows = dq.into_par_iter().zip(dk).zip(dv).enumerate();
        let heads = rows
            .with_max_len(1)
            .map(|(number, ((mut dq, mut dk), mut dv))| {
                let head = Head::new(&saved, number / h, number % h);
                head.gradients([&mut dq, &mut dk, &mut dv])
            });
        of_bases = heads.collect();
    }
    let mut bases = [(); 2].map(|()| vec![0.0; saved.states.iter().map(basis_len).sum()]);
    for of_batch in of_bases.chunks(h.max(1)) {
        let mut at = 0;
        for (of_head, state) in of_batch.iter().zip(saved.states) {
            of_head.add_to(&mut bases, at);
            at += basis_len(state);
        }
    }
    Gradients { inputs, bases }
}

/// Numbers in one basis of a head.
fn basis_len(state: &HeadState<'_>) -> usize {
    match state {
        HeadState::Off | HeadState::Whole => 0,
        HeadState::Compressed { key, .. } => key.height() * key.t().height(),
    }
}

/// One head of one sequence.
struct Head<'a> {
    q: Mat<'a>,
    k: Mat<'a>,
    v: Mat<'a>,
    out: Mat<'a>,
    lse: Mat<'a>,
    grad: Mat<'a>,
    d: usize,
    state: HeadState<'a>,
    far: Far,
    settings: BlockAttention,
    scale: f32,
    /// The number of ranges of chunks for the queries.
    ranges: usize,
}

impl<'a> Head<'a> {
    fn new(saved: &Saved<'a>, batch: usize, head: usize) -> Self {
        let [b, h, n, d] = saved.q.shape;
        let of = |x: Heads<'a>| x.head(batch, head);
        let (k, v, state) = (of(saved.k), of(saved.v), saved.states[head]);
        let settings = saved.settings.of_head(head);
        Self {
            q: of(saved.q),
            k,
            v,
            out: of(saved.out),
            lse: of(saved.lse),
            grad: of(saved.grad),
            d,
            state,
            far: Far::new(&settings, state, settings.grid.far_chunks(n), [k, v], d),
            settings,
            scale: saved.scale,
            ranges: RANGES.div_ceil(b * h),
        }
    }

    fn tokens(&self) -> usize {
        self.q.height()
    }

    /// Whether chunks with a far field read a state.
    fn reads_states(&self) -> bool {
        self.far.state_size() > 0
    }

    /// Writes the gradients of q, k and v, whose rows are zero, and returns those of the
    /// bases.
    fn gradients(&self, [dq, dk, dv]: [&mut [&mut [f32]]; 3]) -> BasisGradients {
        let mut routing = Routing::new(self);
        let parts = self.parts(dq, &mut routing);
        routing.add_to_receivers(self, dq);
        let mut bases = BasisGradients::new(self);
        for part in &parts {
            bases.add(&part.bases);
        }
        for of_group in self.spread(&parts, &routing, [dk, dv]) {
            bases.add(&of_group);
        }
        bases
    }

    /// The contributions of each range of chunks. Writes the gradients of their queries.
    fn parts(&self, mut dq: &mut [&mut [f32]], routing: &mut Routing) -> Vec<Part> {
        let (settings, tokens) = (&self.settings, self.tokens());
        let chunks = settings.query_chunks(tokens);
        let size = chunks.div_ceil(self.ranges);
        let mut routing = routing.rows();
        let mut ranges = Vec::with_capacity(self.ranges);
        for start in (0..chunks).step_by(size) {
            let range = start..(start + size).min(chunks);
            let end = settings.queries(range.end - 1, tokens).end;
            let queries = settings.queries(start, tokens).start..end;
            let rows = dq.split_off_mut(..queries.len()).unwrap_or_default();
            let far = range.clone().filter(|&c| settings.seen(c).far > 0).count();
            ranges.push((range, rows, routing.split_off(far)));
        }
        let parts = ranges.into_par_iter().with_max_len(1).map_init(
            range::Scratch::default,
            |scratch, (range, rows, routing)| Part::new(self, range, rows, routing, scratch),
        );
        parts.collect()
    }

    /// Writes the gradients of keys and values, and returns the contribution of each
    /// group of chunks to those of the bases.
    fn spread(
        &self,
        parts: &[Part],
        routing: &Routing,
        [dk, dv]: [&mut [&mut [f32]]; 2],
    ) -> Vec<BasisGradients> {
        let sinks = self.settings.grid.sinks.min(dk.len());
        let (sink_keys, dk) = dk.split_at_mut(sinks);
        let (sink_values, dv) = dv.split_at_mut(sinks);
        spread::sinks(parts, [sink_keys, sink_values]);
        let size = GROUP * self.settings.grid.chunk_size;
        let groups = dk.par_chunks_mut(size).zip(dv.par_chunks_mut(size));
        let groups = groups.enumerate().with_max_len(1).map_init(
            spread::Scratch::default,
            |scratch, (group, (dk, dv))| {
                spread::group(self, parts, routing, group * GROUP, [dk, dv], scratch)
            },
        );
        groups.collect()
    }
}
