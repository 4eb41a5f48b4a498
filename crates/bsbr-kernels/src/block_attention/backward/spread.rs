//! From the contributions of all ranges to the gradients of keys and values.
//!
//! A mean distributes its gradient equally over its tokens. The state F = (1/S) Σ x vᵀ
//! of centred keys x gives x the gradient (1/S) dF v, and v the gradient (1/S) dFᵀ x. A
//! key has the gradient of x, and its mean that of −x.

use super::Head;
use super::range::Part;
use super::routing::Routing;
use super::state::{self, BasisGradients};
use crate::block_attention::far::HeadState;
use crate::cpu::math::{row_add, row_subtract, vectorised};
use crate::cpu::matrix::{Mat, product};

/// Buffers for a group of chunks.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Gradients of the states. `[chunks, r·r]`
    of_states: Vec<f32>,
    /// Gradients of the mean keys. `[chunks, D]`
    of_means: Vec<f32>,
    /// Gradient of one state. `[D, D]`
    whole: Vec<f32>,
    /// Centred keys, and values, of one chunk, cluster by cluster. `[S, D]`
    tokens: [Vec<f32>; 2],
    /// Their gradients through the state. `[S, D]`
    of_tokens: [Vec<f32>; 2],
    /// The gradient that every token of a cluster receives. `[D]`
    of_cluster: [Vec<f32>; 2],
    state: state::Scratch,
}

/// Writes the gradients of the sinks' keys and values.
pub(super) fn sinks(parts: &[Part], [dk, dv]: [&mut [&mut [f32]]; 2]) {
    for part in parts {
        part.add_window(0, [&mut *dk, &mut *dv]);
        for (number, (dk, dv)) in dk.iter_mut().zip(dv.iter_mut()).enumerate() {
            part.add_shared(number, [dk, dv]);
        }
    }
}

/// Writes the gradients of the keys and values of the chunks from `first` on.
pub(super) fn group(
    head: &Head<'_>,
    parts: &[Part],
    routing: &Routing,
    first: usize,
    [dk, dv]: [&mut [&mut [f32]]; 2],
    scratch: &mut Scratch,
) -> BasisGradients {
    for part in parts {
        part.add_window(head.settings.grid.start_of(first), [&mut *dk, &mut *dv]);
    }
    let size = head.settings.grid.chunk_size;
    let far = head.far.chunks().saturating_sub(first).min(super::GROUP);
    let mut bases = BasisGradients::new(head);
    if far > 0 && head.reads_states() {
        routing.of_states(first, far, &mut scratch.of_states);
        routing.of_means(first, far, &mut scratch.of_means);
    }
    let chunks = dk.chunks_mut(size).zip(dv.chunks_mut(size));
    for (number, (dk, dv)) in chunks.take(far).enumerate() {
        let chunk = first + number;
        if head.reads_states() {
            scratch.by_state(head, [chunk, number], &mut bases);
        }
        for cluster in 0..head.settings.clusters {
            scratch.hand_on(head, parts, [chunk, number], cluster, [&mut *dk, &mut *dv]);
        }
    }
    bases
}

impl Scratch {
    /// Gradients of a chunk's centred keys and values through its state. `number` is the
    /// chunk's index in its group.
    fn by_state(
        &mut self,
        head: &Head<'_>,
        [chunk, number]: [usize; 2],
        bases: &mut BasisGradients,
    ) {
        let (d, size) = (head.d, head.settings.grid.chunk_size);
        let share = 1.0 / size as f32;
        self.gather(head, chunk);
        let len = head.far.state_size();
        let kept = &self.of_states[number * len..][..len];
        let tokens = self.tokens.each_ref().map(|x| Mat::dense(x, size, d));
        let whole = match head.state {
            HeadState::Compressed { .. } => {
                let whole = &mut self.whole;
                whole.resize(d * d, 0.0);
                self.state.restore(head, kept, tokens, share, whole, bases);
                &*whole
            }
            HeadState::Whole | HeadState::Off => kept,
        };
        let whole = Mat::dense(whole, d, d);
        let [keys, values] = tokens;
        let [of_keys, of_values] = self.of_tokens.each_mut();
        for (to, left, right) in [(of_keys, values, whole.t()), (of_values, keys, whole)] {
            to.resize(size * d, 0.0);
            product(to, left, right, share, false);
        }
    }

    /// A chunk's centred keys and its values, cluster by cluster.
    fn gather(&mut self, head: &Head<'_>, chunk: usize) {
        let (d, size) = (head.d, head.settings.grid.chunk_size);
        let start = head.settings.grid.start_of(chunk);
        let order = head.far.order(chunk * size..(chunk + 1) * size);
        for (from, to) in [head.k, head.v].into_iter().zip(&mut self.tokens) {
            to.resize(size * d, 0.0);
            for (row, token) in to.chunks_exact_mut(d).zip(order) {
                from.copy_row(start + token, row);
            }
        }
        let g = head.settings.clusters;
        let [keys, _] = &mut self.tokens;
        let mut rows = keys.chunks_exact_mut(d);
        let (far, sinks) = (&head.far, head.settings.grid.sinks);
        vectorised(
            #[inline(always)]
            || {
                for cluster in chunk * g..(chunk + 1) * g {
                    let mean = far.key(sinks + cluster);
                    for row in rows.by_ref().take(far.members(cluster).len()) {
                        row_subtract(row, mean);
                    }
                }
            },
        );
    }

    /// Adds to the gradients of the tokens of one cluster of a chunk.
    fn hand_on(
        &mut self,
        head: &Head<'_>,
        parts: &[Part],
        [chunk, number]: [usize; 2],
        cluster: usize,
        rows: [&mut [&mut [f32]]; 2],
    ) {
        let (d, size) = (head.d, head.settings.grid.chunk_size);
        let cluster = chunk * head.settings.clusters + cluster;
        let members = head.far.members(cluster);
        if members.is_empty() {
            return;
        }
        let share = 1.0 / members.len() as f32;
        let at = members.start - chunk * size;
        let here = at * d..(at + members.len()) * d;
        let looked_up = members.start * d..members.end * d;
        for sum in &mut self.of_cluster {
            sum.clear();
            sum.resize(d, 0.0);
        }
        let [of_key, of_value] = &mut self.of_cluster;
        let by_state = head.reads_states();
        let merged = head.far.share(cluster);
        vectorised(
            #[inline(always)]
            || {
                for part in parts {
                    part.add_shared(
                        head.settings.grid.sinks + cluster,
                        [&mut *of_key, &mut *of_value],
                    );
                    if let Some((merged, share)) = merged {
                        part.add_merged(merged, share, [&mut *of_key, &mut *of_value]);
                    }
                }
                if by_state {
                    for row in self.of_tokens[0][here.clone()].chunks_exact(d) {
                        row_subtract(of_key, row);
                    }
                }
                for x in of_key.iter_mut().chain(of_value.iter_mut()) {
                    *x *= share;
                }
                if by_state {
                    let share = 1.0 / size as f32;
                    for (x, mean) in of_key.iter_mut().zip(&self.of_means[number * d..]) {
                        *x += share * mean;
                    }
                }
                let order = head.far.order(members.clone());
                let of_cluster = [&*of_key, &*of_value];
                for (side, rows) in rows.into_iter().enumerate() {
                    for &token in order {
                        row_add(rows[token], of_cluster[side]);
                    }
                    if by_state {
                        let from = &self.of_tokens[side][here.clone()];
                        for (&token, from) in order.iter().zip(from.chunks_exact(d)) {
                            row_add(rows[token], from);
                        }
                    }
                    for part in parts {
                        let from = part.looked_up[side].get(looked_up.clone());
                        let from = from.unwrap_or_default().chunks_exact(d);
                        for (&token, from) in order.iter().zip(from) {
                            row_add(rows[token], from);
                        }
                    }
                }
            },
        );
    }
}
