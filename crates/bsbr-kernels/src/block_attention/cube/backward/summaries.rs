//! From the gradients of clusters and states to those of their tokens.
//!
//! For a far chunk with keys x_t, values v_t, means k̄_g and v̄_g of its clusters of m_g tokens,
//! state F and mean key h: F = (1/S) Σ (x_t − k̄_g(t)) v_tᵀ. With the gradient dF, x_t gains dF v_t
//! / S, v_t gains dFᵀ (x_t − k̄_g(t)) / S and k̄_g loses Σ dF v_t / S over its tokens. Then x_t
//! gains dk̄_g / m_g + dh / S, and v_t gains dv̄_g / m_g.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{FloatDType, Shape};
use burn_cubecl::tensor::CubeTensor;

use super::Passed;
use super::queries::OfQueries;
use super::{joined, rows};
use crate::block_attention::BlockStatesPrimitive;
use crate::block_attention::cube::{Far, States, projection};
use crate::cube::{primitive, product, tensor};

type T = FloatTensor<Cube>;

/// The summaries of far chunks, in `f32`.
pub(super) struct Summaries<'a> {
    far: &'a Far,
    /// F
    chunks: usize,
    /// Gradients of the outputs of the tail, followed by zeros. `[B, H, F, S, D]`
    slopes: T,
    /// S g of the tail, if there are states. `[B, H, F, S, D]`
    read: Option<T>,
}

/// The resulting gradients.
pub(super) struct Back {
    /// To keys and values of far chunks. `[B, H, F·S, D]`
    pub of_tokens: [T; 2],
    /// Of the receivers, the queries by which chunks mix states. `[B, H, F, D]`
    pub of_receivers: Option<T>,
    /// Of bases.
    pub of_bases: BlockStatesPrimitive<Cube>,
}

impl<'a> Summaries<'a> {
    pub(super) fn new(passed: &Passed<'_>, far: &'a Far) -> Option<Self> {
        let slopes = tail(passed, tensor(passed.grad.clone())?);
        let read = match &far.states {
            None => None,
            // S is [D of keys, D of values].
            Some(states) => Some(multiply(
                slopes.clone(),
                turned(tensor(states.mixed.clone())?),
            )),
        };
        Some(Self {
            far,
            chunks: passed.settings.grid.far_chunks(passed.inputs[0].shape()[2]),
            slopes,
            read,
        })
    }

    /// S g of the tail. `[B, H, F·S, D]`, in rows
    pub(super) fn read(&self) -> Option<CubeTensor> {
        let read = primitive(self.read.as_ref()?)?;
        Some(burn_cubecl::kernel::into_contiguous(read))
    }

    /// From the gradients of clusters `[B, H, F·G, D]`.
    pub(super) fn backward(
        &self,
        passed: &Passed<'_>,
        of_queries: &OfQueries,
        of_clusters: [T; 2],
        states: BlockStatesPrimitive<Cube>,
    ) -> Option<Back> {
        let settings = passed.settings;
        let (f, s, g) = (self.chunks, settings.grid.chunk_size, settings.clusters);
        let shape = passed.inputs[0].shape();
        let [b, h, d] = [shape[0], shape[1], shape[3]];
        let chunk_by_chunk = |x: T, rows: usize| reshape(x, &[b, h, f, rows, d]);
        let members = tensor(self.far.members.clone()?)?;
        let of_token = turned(members.clone());
        let alike = &self.far.alike;
        // An empty cluster has no tokens to receive a gradient.
        let counts = Cube::float_exp(tensor(alike.bias.clone())?);
        let counts = Cube::float_clamp_min(reshape(counts, &[b, h, f, g, 1]), 1.0.into());
        let [mut of_keys, of_values] = of_clusters.map(|x| chunk_by_chunk(x, g));
        let mut of_bases = states.clone().map(|basis| super::zeros_like(&basis));
        let (mut more, mut of_receivers) = (None, None);
        if let Some(own) = &self.far.states {
            let [k, v] = [passed.inputs[1], passed.inputs[2]].map(|x| tensor(x.clone()));
            let [k, v] = [k?, v?].map(|x| {
                let first = settings.grid.sinks;
                chunk_by_chunk(single(rows(&x, first..first + f * s)), s)
            });
            let chosen = self.choice(passed, of_queries, own)?;
            let (of_whole, bases) = unprojected(chosen.of_states, own, states, d)?;
            of_bases = bases;
            let share = 1.0 / s as f64;
            let of_whole = Cube::float_mul_scalar(of_whole, share.into());
            let means = chunk_by_chunk(tensor(own.centres.clone())?, g);
            let centred = Cube::float_sub(k, multiply(of_token.clone(), means));
            let keys = multiply(v, turned(of_whole.clone()));
            let values = multiply(centred, of_whole);
            let gathered = multiply(members, keys.clone());
            of_keys = Cube::float_sub(of_keys, gathered);
            let of_mean = Cube::float_mul_scalar(chosen.of_means, share.into());
            let keys = Cube::float_add(keys, reshape(of_mean, &[b, h, f, 1, d]));
            more = Some([keys, values]);
            of_receivers = Some(chosen.of_receivers);
        }
        let spread = [of_keys, of_values]
            .map(|x| multiply(of_token.clone(), Cube::float_div(x, counts.clone())));
        let of_tokens = match more {
            None => spread,
            Some([keys, values]) => {
                let [k, v] = spread;
                [Cube::float_add(k, keys), Cube::float_add(v, values)]
            }
        };
        Some(Back {
            of_tokens: of_tokens.map(|x| reshape(x, &[b, h, f * s, d])),
            of_receivers,
            of_bases,
        })
    }

    /// Through the mixture of states that each chunk reads.
    fn choice(
        &self,
        passed: &Passed<'_>,
        of_queries: &OfQueries,
        states: &States,
    ) -> Option<Choice> {
        let settings = passed.settings;
        let (f, s) = (self.chunks, settings.grid.chunk_size);
        let shape = passed.inputs[0].shape();
        let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
        let q = tensor(passed.inputs[0].clone())?;
        let scale = f64::from(passed.scale);
        let mass = reshape(tensor(of_queries.mass.clone())?, &[b, h, n, 1]);
        let mass = tail(passed, mass);
        let queries = Cube::float_mul(tail(passed, q.clone()), mass);
        let queries = Cube::float_mul_scalar(queries, scale.into());
        let of_mixed = multiply(turned(queries), self.slopes.clone());
        let of_mixed = reshape(of_mixed, &[b, h, f, d * d]);
        let kept = reshape(states.kept.clone(), &[b, h, f, d * d]);
        let weights = tensor(states.weights.clone())?;
        let of_states = multiply(turned(weights.clone()), of_mixed.clone());
        // The softmax over chunks.
        let of_weights = multiply(of_mixed, turned(kept));
        let along = Cube::float_mul(weights.clone(), of_weights.clone());
        let along = Cube::float_sum_dim(along, 3);
        let of_scores = Cube::float_mul(weights, Cube::float_sub(of_weights, along));
        let of_scores = Cube::float_mul_scalar(of_scores, scale.into());
        let start = settings.grid.start_of(settings.grid.near_chunks);
        let before = rows(&q, start..start + f * s);
        let before = Cube::float_reshape(before, Shape::from([b * h, f, s, d]));
        let receivers = reshape(single(rows(&before, s - 1..s)), &[b, h, f, d]);
        Some(Choice {
            of_states: reshape(of_states, &[b, h, f, d, d]),
            of_receivers: multiply(of_scores.clone(), tensor(states.means.clone())?),
            of_means: multiply(turned(of_scores), receivers),
        })
    }
}

/// Gradients of the inputs of a chunk's mixture of states.
struct Choice {
    /// Of stored states. `[B, H, F, D, D]`
    of_states: T,
    /// `[B, H, F, D]`
    of_receivers: T,
    /// Of the mean keys of chunks. `[B, H, F, D]`
    of_means: T,
}

/// Gradients of whole states and of bases, from those of stored states.
fn unprojected(
    of_kept: T,
    own: &States,
    states: BlockStatesPrimitive<Cube>,
    d: usize,
) -> Option<(T, BlockStatesPrimitive<Cube>)> {
    let BlockStatesPrimitive::Compressed { key, value } = states else {
        return Some((of_kept, states));
    };
    let [left, right] = [&key, &value].map(|basis| projection(basis.clone(), d));
    let whole = own.whole.clone();
    // P F Q is stored for F: P = U Uᵀ gains dK (F Q)ᵀ, and U receives it from both of its
    // occurrences.
    let of_left = multiply(
        of_kept.clone(),
        turned(multiply(whole.clone(), right.clone())),
    );
    let of_right = multiply(turned(multiply(left.clone(), whole)), of_kept.clone());
    let of_whole = multiply(multiply(left, of_kept), right);
    let [key, value] = [(key, of_left), (value, of_right)].map(|(basis, of_product)| {
        let (h, dtype) = (basis.shape()[0], FloatDType::from(basis.dtype()));
        let summed = Cube::float_sum_dim(Cube::float_sum_dim(of_product, 2), 0);
        let summed = reshape(summed, &[h, d, d]);
        let both = Cube::float_add(summed.clone(), Cube::float_swap_dims(summed, 1, 2));
        let gained = multiply(both, Cube::float_cast(basis, FloatDType::F32));
        Cube::float_cast(gained, dtype)
    });
    Some((of_whole, BlockStatesPrimitive::Compressed { key, value }))
}

/// Rows of the tail in `f32`, followed by zeros. `[B, H, N, x]` → `[B, H, F, S, x]`
fn tail(passed: &Passed<'_>, x: T) -> T {
    let (settings, shape) = (passed.settings, x.shape());
    let [b, h, n, width] = [shape[0], shape[1], shape[2], shape[3]];
    let first = settings.grid.far_from(0);
    let far = settings.grid.far_chunks(n);
    let missing = first + far * settings.grid.chunk_size - n;
    let own = single(rows(&x, first..n));
    let nothing = Shape::from([b, h, missing.max(1), width]);
    let nothing = Cube::float_zeros(nothing, &own.device(), FloatDType::F32);
    let filled = joined([(&own, 0..n - first), (&nothing, 0..missing)]);
    reshape(filled, &[b, h, far, settings.grid.chunk_size, width])
}

/// A product, by a kernel that is known to be fast if there is one.
fn multiply(lhs: T, rhs: T) -> T {
    match product(&lhs, &rhs) {
        Some(done) => done,
        None => Cube::float_matmul(lhs, rhs),
    }
}

fn single(x: T) -> T {
    Cube::float_cast(x, FloatDType::F32)
}

fn reshape(x: T, shape: &[usize]) -> T {
    Cube::float_reshape(x, Shape::from(shape.to_vec()))
}

/// With the last two dimensions swapped.
fn turned(x: T) -> T {
    let rank = x.shape().num_dims();
    Cube::float_swap_dims(x, rank - 2, rank - 1)
}
