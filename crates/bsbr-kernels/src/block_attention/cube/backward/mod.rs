//! The backward pass. Scores are recomputed from the log-sum-exps, once for queries and twice for
//! keys. Burn's matrix products carry the gradients of clusters and states back to the tokens.
//! Looked-up tokens also receive gradients from the queries that look them up.

mod keys;
mod lookups;
mod queries;
mod summaries;

use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, Slice};
use burn_cubecl::tensor::CubeTensor;

use super::attend::Alike;
use super::far_field;
use crate::block_attention::{BlockAttention, BlockStatesPrimitive};
use crate::cube::tensor;
use crate::half::back;
use summaries::Summaries;

/// Inputs and outputs of a forward pass, and the gradient of its output.
#[derive(Clone, Copy)]
struct Passed<'a> {
    /// q, k, v. `[B, H, N, D]`
    inputs: [&'a CubeTensor; 3],
    /// `[B, H, N, D]`
    out: &'a CubeTensor,
    /// `[B, H, N]`
    lse: &'a CubeTensor,
    /// `[B, H, N, D]`
    grad: &'a CubeTensor,
    alike: Option<&'a Alike>,
    settings: &'a BlockAttention,
    scale: f32,
}

/// Gradients of q, k, v, and of bases.
pub(super) type Gradients = (
    FloatTensor<Cube>,
    FloatTensor<Cube>,
    FloatTensor<Cube>,
    BlockStatesPrimitive<Cube>,
);

/// Shared memory of a block, in bytes.
pub(super) fn shared_bytes(d: usize) -> usize {
    queries::shared_bytes(d).max(keys::shared_bytes(d, false))
}

/// The same with lookups.
pub(super) fn shared_bytes_of_lookups(d: usize) -> usize {
    lookups::shared_bytes(d).max(keys::shared_bytes(d, true))
}

/// Gradients from the inputs and outputs of a forward pass by kernels.
pub(super) fn backward(
    inputs: [CubeTensor; 3],
    states: BlockStatesPrimitive<Cube>,
    [out, lse, grad]: [CubeTensor; 3],
    settings: &BlockAttention,
    scale: f64,
) -> Option<Gradients> {
    let [q, k, v] = &inputs;
    let dtype = q.dtype;
    let far = far_field([q, k, v], states.clone(), settings, scale, true)?;
    let passed = Passed {
        inputs: [q, k, v],
        out: &out,
        lse: &lse,
        grad: &grad,
        alike: far.as_ref().map(|far| &far.alike),
        settings,
        scale: scale as f32,
    };
    let summaries = match &far {
        None => None,
        Some(far) => Some(Summaries::new(&passed, far)?),
    };
    let read = summaries.as_ref().and_then(Summaries::read);
    let of_queries = queries::pass(&passed, read);
    let of_tokens = keys::of_tokens(&passed, &of_queries);
    let [dk, dv] = [of_tokens.dk, of_tokens.dv].map(tensor);
    let mut of_tokens = [one_part(dk?), one_part(dv?)];
    let mut of_clusters = None;
    if let Some(alike) = keys::of_alike(&passed, &of_queries) {
        let sinks = settings.grid.sinks.min(q.shape()[2]);
        let all = [tensor(alike.dk)?, tensor(alike.dv)?].map(added_up);
        of_tokens = with_sinks(of_tokens, &all, sinks);
        let keys = all[0].shape()[2];
        of_clusters = (keys > sinks).then(|| all.map(|x| rows(&x, sinks..keys)));
    }
    let looked_up = passed.alike.and_then(|alike| alike.looked_up.as_ref());
    if let Some(looked_up) = looked_up {
        let more = lookups::of_looked_up(&passed, &of_queries, looked_up);
        of_tokens = add_far(
            of_tokens,
            [tensor(more.dk)?, tensor(more.dv)?],
            settings.grid.sinks,
        );
    }
    let mut dq = tensor(of_queries.dq.clone())?;
    let mut of_bases = states.clone().map(|basis| zeros_like(&basis));
    if let Some((summaries, of_clusters)) = summaries.zip(of_clusters) {
        let back = summaries.backward(&passed, &of_queries, of_clusters, states)?;
        of_tokens = add_far(of_tokens, back.of_tokens, settings.grid.sinks);
        if let Some(receivers) = back.of_receivers {
            dq = add_receivers(dq, receivers, settings);
        }
        of_bases = back.of_bases;
    }
    let [dk, dv] = of_tokens;
    let [dq, dk, dv] = [dq, dk, dv].map(|x| back::<Cube>(x, dtype));
    Some((dq, dk, dv, of_bases))
}

/// Numbers on the device of `like`.
fn numbers(all: &[usize], like: &CubeTensor) -> CubeTensor {
    let bytes: Vec<u8> = all.iter().flat_map(|&x| (x as u32).to_ne_bytes()).collect();
    let numbers = like.client.create_from_slice(&bytes);
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, [all.len()].into(), numbers, DType::U32)
}

/// `[1, ..]` → `[..]`
fn one_part(x: FloatTensor<Cube>) -> FloatTensor<Cube> {
    let shape = x.shape();
    let rest: Vec<usize> = shape.iter().skip(1).copied().collect();
    Cube::float_reshape(x, Shape::from(rest))
}

/// The sum over the first dimension, which is removed.
fn added_up(x: FloatTensor<Cube>) -> FloatTensor<Cube> {
    one_part(match x.shape()[0] {
        1 => x,
        _ => Cube::float_sum_dim(x, 0),
    })
}

/// Rows of the third dimension of four.
fn rows(x: &FloatTensor<Cube>, range: Range<usize>) -> FloatTensor<Cube> {
    let shape = x.shape();
    let whole = |dim: usize| Slice::from(0..shape[dim]);
    Cube::float_slice(
        x.clone(),
        &[whole(0), whole(1), Slice::from(range), whole(3)],
    )
}

/// Rows of several tensors in sequence; empty ranges are left out.
fn joined<const N: usize>(parts: [(&FloatTensor<Cube>, Range<usize>); N]) -> FloatTensor<Cube> {
    let some = parts.into_iter().filter(|(_, range)| !range.is_empty());
    let mut parts: Vec<_> = some.map(|(x, range)| rows(x, range)).collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => Cube::float_cat(parts, 2),
    }
}

/// Tokens whose first `sinks` rows are replaced by other rows.
fn with_sinks(
    of_tokens: [FloatTensor<Cube>; 2],
    alike: &[FloatTensor<Cube>; 2],
    sinks: usize,
) -> [FloatTensor<Cube>; 2] {
    let [dk, dv] = of_tokens;
    let [sink_keys, sink_values] = alike;
    [(dk, sink_keys), (dv, sink_values)].map(|(own, of_sinks)| match sinks {
        0 => own,
        _ => joined([(of_sinks, 0..sinks), (&own, sinks..own.shape()[2])]),
    })
}

/// Adds the other gradients of tokens of far chunks, `[B, H, F·S, D]`.
fn add_far(
    of_tokens: [FloatTensor<Cube>; 2],
    of_far: [FloatTensor<Cube>; 2],
    sinks: usize,
) -> [FloatTensor<Cube>; 2] {
    let [dk, dv] = of_tokens;
    let [far_keys, far_values] = of_far;
    [(dk, far_keys), (dv, far_values)].map(|(own, more)| {
        let end = sinks + more.shape()[2];
        let far = Cube::float_add(rows(&own, sinks..end), more);
        let tokens = own.shape()[2];
        joined([
            (&own, 0..sinks),
            (&far, 0..end - sinks),
            (&own, end..tokens),
        ])
    })
}

/// Adds the gradients of receivers, the last tokens before the tail chunks, `[B, H, F, D]`.
fn add_receivers(
    dq: FloatTensor<Cube>,
    receivers: FloatTensor<Cube>,
    settings: &BlockAttention,
) -> FloatTensor<Cube> {
    let size = settings.grid.chunk_size;
    let shape = receivers.shape();
    let [b, h, far, d] = [shape[0], shape[1], shape[2], shape[3]];
    // Each is the last of a chunk.
    let start = settings.grid.start_of(settings.grid.near_chunks);
    let end = start + far * size;
    let chunks = Cube::float_reshape(rows(&dq, start..end), Shape::from([b * h, far, size, d]));
    let receivers = Cube::float_reshape(receivers, Shape::from([b * h, far, 1, d]));
    let last = Cube::float_add(rows(&chunks, size - 1..size), receivers);
    let chunks = joined([(&chunks, 0..size - 1), (&last, 0..1)]);
    let chunks = Cube::float_reshape(chunks, Shape::from([b, h, far * size, d]));
    let tokens = dq.shape()[2];
    joined([
        (&dq, 0..start),
        (&chunks, 0..far * size),
        (&dq, end..tokens),
    ])
}

fn zeros_like(x: &FloatTensor<Cube>) -> FloatTensor<Cube> {
    let dtype = FloatDType::from(x.dtype());
    Cube::float_zeros(x.shape(), &x.device(), dtype)
}
