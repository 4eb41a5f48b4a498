//! Gradients of queries: one unit per query, over the same list of keys as the forward pass.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::Passed;
use crate::block_attention::cube::attend::{PLAN, plan};
use crate::block_attention::cube::listed::{self, Four, Listed, Seen, four_of, sum_of};
use crate::block_attention::cube::lookup::{LookedUp, Lookup};
use crate::cube::{elements, room};
use crate::half::is_half;

/// Queries of a block.
const QUERIES: usize = 64;

/// Keys that are weighed together.
const STEP: usize = 2;

/// Keys in shared memory at a time.
fn tile(d: usize) -> usize {
    listed::tile(d, 1, STEP, QUERIES)
}

/// Shared memory of a block, in bytes.
pub(super) fn shared_bytes(d: usize) -> usize {
    tile(d) * listed::row_bytes(d, 1)
}

/// Results of the pass over queries, in `f32`.
pub(super) struct OfQueries {
    /// The gradient without that of receivers of states. `[B, H, N, D]`
    pub dq: CubeTensor,
    /// Σ p · dp of every query over its keys. `[B, H, N]`
    pub delta: CubeTensor,
    /// The softmax mass on clusters. `[B, H, N]`
    pub mass: CubeTensor,
    /// The excess of a cluster's dp over that of a key with its value. `[B, H, N]`
    pub bonus: CubeTensor,
}

/// The pass. `read` is S g for the queries of the tail, where g is the gradient of their outputs,
/// followed by zeros. `[B, H, F·S, D]`
pub(super) fn pass(passed: &Passed<'_>, read: Option<CubeTensor>) -> OfQueries {
    let Passed {
        inputs: [q, k, v],
        out,
        lse,
        grad,
        alike,
        settings,
        scale,
    } = *passed;
    let shape = q.shape();
    let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
    let single = |shape: &[usize]| room(q, shape, DType::F32);
    let far = settings.grid.far_chunks(n);
    let given = OfQueries {
        dq: single(&[b, h, n, d]),
        delta: single(&[b, h, n]),
        mass: single(&[b, h, n]),
        bonus: single(&[b, h, n]),
    };
    let with_state = read.is_some();
    let read = read.unwrap_or_else(|| single(&[1]));
    let clusters = alike.map_or(0, |_| settings.clusters);
    let [keys, values, bias] = match alike {
        None => [single(&[1]), single(&[1]), single(&[1])],
        Some(alike) => [&alike.keys, &alike.values, &alike.bias].map(Clone::clone),
    };
    let looked_up = alike.and_then(|alike| alike.looked_up.as_ref());
    let best = looked_up.map_or(0, |_| settings.exact_clusters);
    let chosen = looked_up.map(|all| all.chosen.clone().into_buffer_arg());
    let order = looked_up.map(|all| all.order.clone().into_buffer_arg());
    let [kept_keys, kept_values] = looked_up.map_or([None, None], LookedUp::kept_args);
    let (plan, blocks) = plan(settings, n, QUERIES, q);
    queries_kernel::launch(
        &q.client,
        CubeCount::Static(blocks as u32, h as u32, b as u32),
        CubeDim::new_1d(QUERIES as u32),
        q.clone().into_tensor_arg(),
        k.clone().into_tensor_arg(),
        v.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        grad.clone().into_tensor_arg(),
        lse.clone().into_tensor_arg(),
        keys.into_tensor_arg(),
        values.into_tensor_arg(),
        bias.into_tensor_arg(),
        read.into_tensor_arg(),
        chosen.into(),
        order.into(),
        kept_keys.into(),
        kept_values.into(),
        plan.into_buffer_arg(),
        given.dq.clone().into_tensor_arg(),
        given.delta.clone().into_tensor_arg(),
        given.mass.clone().into_tensor_arg(),
        given.bonus.clone().into_tensor_arg(),
        scale,
        n as u32,
        settings.grid.sinks as u32,
        far as u32,
        clusters as u32,
        settings.grid.far_from(0) as u32,
        (far * settings.grid.chunk_size) as u32,
        settings.grid.chunk_size as u32,
        d,
        tile(d),
        best,
        with_state,
        is_half(q.dtype),
        elements(q.dtype),
    );
    given
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
#[allow(clippy::collapsible_if)] // the outer one is decided when a kernel is compiled
fn queries_kernel<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    out: &Tensor<F>,
    grad: &Tensor<F>,
    lse: &Tensor<f32>,
    keys: &Tensor<f32>,
    values: &Tensor<f32>,
    bias: &Tensor<f32>,
    read: &Tensor<f32>,
    chosen: ComptimeOption<&[u32]>,
    order: ComptimeOption<&[u32]>,
    kept_keys: ComptimeOption<&Tensor<F>>,
    kept_values: ComptimeOption<&Tensor<F>>,
    plan: &[u32],
    dq: &mut Tensor<f32>,
    delta: &mut Tensor<f32>,
    mass: &mut Tensor<f32>,
    bonus: &mut Tensor<f32>,
    scale: f32,
    tokens: u32,
    sinks: u32,
    far_chunks: u32,
    clusters: u32,
    first_of_tail: u32,
    tail: u32,
    chunk_size: u32,
    #[comptime] d: usize,
    #[comptime] tile: usize,
    #[comptime] best: usize,
    #[comptime] with_state: bool,
    #[comptime] sums_delta: bool,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let place = row * CUBE_COUNT_Y as usize + head;
    let tokens = tokens as usize;
    let block = CUBE_POS_X as usize * PLAN;
    let first = plan[block] as usize;
    let end = plan[block + 1] as usize;
    let near = plan[block + 2] as usize;
    let far = plan[block + 3] as usize;
    let mut sinks = sinks as usize;
    if far == 0 {
        sinks = 0;
    }
    let clusters = clusters as usize;
    let window = end - near;
    let exact = window + sinks;
    let seen = Seen {
        near,
        window,
        exact,
        total: exact + far * clusters,
        first_cluster: place * far_chunks as usize * clusters,
    };

    let fours = comptime!(d.div_ceil(4));
    let mut listed = Listed::new(tile, d);

    // Units without a query repeat the last one, and do not write.
    let query = min(first + unit, end - 1);
    let q_row = row * q.stride(0) + head * q.stride(1) + query * q.stride(2);
    let grad_row = row * grad.stride(0) + head * grad.stride(1) + query * grad.stride(2);
    let out_row = row * out.stride(0) + head * out.stride(1) + query * out.stride(2);
    let mut own = Array::<Four>::new(fours);
    let mut slope = Array::<Four>::new(fours);
    let mut sum = Array::<Four>::new(fours);
    let mut along = Four::new(0.0);
    #[unroll]
    for four in 0..fours {
        own[four] = four_of::<F>(q, q_row, q.stride(3), 4 * four, d) * Four::new(scale);
        slope[four] = four_of::<F>(grad, grad_row, grad.stride(3), 4 * four, d);
        sum[four] = Four::new(0.0);
        if comptime!(!sums_delta) {
            along += slope[four] * four_of::<F>(out, out_row, out.stride(3), 4 * four, d);
        }
    }
    let own_lse = lse[place * tokens + query];
    let mut of_tail = 0usize;
    let mut own_bonus = f32::new(0.0);
    if comptime!(with_state) {
        if far > 0 {
            of_tail = place * tail as usize + query - first_of_tail as usize;
            let mut products = Four::new(0.0);
            #[unroll]
            for four in 0..fours {
                products += own[four] * four_of::<f32>(read, of_tail * d, 1usize, 4 * four, d);
            }
            own_bonus = sum_of(products);
        }
    }

    // The looked-up clusters, which the query does not see as clusters.
    let lookup = Lookup {
        list: (place * tokens + query) * best,
        orders: place * far_chunks as usize * (clusters + 1 + chunk_size as usize),
        all: far_chunks as usize * clusters,
        clusters,
        size: chunk_size as usize,
        sinks,
    };
    let mut looked_up = 0usize;
    let mut hidden = 0usize;

    // Σ p · dp equals Σ out · grad only without rounding of the output.
    let mut own_delta = sum_of(along);
    if comptime!(sums_delta) {
        if comptime!(best > 0) {
            hidden = seen.exact + lookup.cluster(chosen.unwrap(), looked_up, best);
        }
        let mut start = 0usize;
        while start < seen.total {
            sync_cube();
            listed.store::<F>(k, v, keys, values, bias, &seen, start, tile, d, QUERIES);
            sync_cube();
            let mut at = 0usize;
            while at < tile {
                let mut scores = Four::new(0.0);
                let mut slopes = Four::new(0.0);
                #[unroll]
                for four in 0..fours {
                    scores += own[four] * listed.keys[at * fours + four];
                    slopes += slope[four] * listed.values[at * fours + four];
                }
                let key = start + at;
                let mut weight = weight_of(
                    sum_of(scores) + listed.bias[at] - own_lse,
                    key,
                    query,
                    &seen,
                );
                if comptime!(best > 0) {
                    if key == hidden {
                        weight = f32::new(0.0);
                        looked_up += 1;
                        hidden = seen.exact + lookup.cluster(chosen.unwrap(), looked_up, best);
                    }
                }
                let mut of_key = sum_of(slopes);
                if key >= seen.exact {
                    of_key += own_bonus;
                }
                own_delta += weight * of_key;
                at += 1;
            }
            start += tile;
        }
        if comptime!(best > 0) {
            if far > 0 {
                let (far_keys, far_values) = if comptime!(kept_keys.is_some()) {
                    (kept_keys.unwrap(), kept_values.unwrap())
                } else {
                    (k, v)
                };
                own_delta += look_up::<F>(
                    far_keys,
                    far_values,
                    chosen.unwrap(),
                    order.unwrap(),
                    &lookup,
                    &own,
                    &slope,
                    &mut sum,
                    own_lse,
                    own_delta,
                    d,
                    best,
                    false,
                );
            }
        }
    }

    if comptime!(best > 0) {
        looked_up = 0usize;
        hidden = seen.exact + lookup.cluster(chosen.unwrap(), looked_up, best);
    }
    let mut own_mass = f32::new(0.0);
    let mut start = 0usize;
    while start < seen.total {
        sync_cube();
        listed.store::<F>(k, v, keys, values, bias, &seen, start, tile, d, QUERIES);
        sync_cube();
        let mut step = 0usize;
        while step < tile {
            let mut slopes = Array::<f32>::new(STEP);
            #[unroll]
            for i in 0..STEP {
                let mut scores = Four::new(0.0);
                let mut products = Four::new(0.0);
                #[unroll]
                for four in 0..fours {
                    scores += own[four] * listed.keys[(step + i) * fours + four];
                    products += slope[four] * listed.values[(step + i) * fours + four];
                }
                let key = start + step + i;
                let score = sum_of(scores) + listed.bias[step + i] - own_lse;
                let mut weight = weight_of(score, key, query, &seen);
                if comptime!(best > 0) {
                    if key == hidden {
                        weight = f32::new(0.0);
                        looked_up += 1;
                        hidden = seen.exact + lookup.cluster(chosen.unwrap(), looked_up, best);
                    }
                }
                let mut of_key = sum_of(products) - own_delta;
                if key >= seen.exact {
                    of_key += own_bonus;
                    own_mass += weight;
                }
                slopes[i] = weight * of_key;
            }
            #[unroll]
            for four in 0..fours {
                let mut sums = sum[four];
                #[unroll]
                for i in 0..STEP {
                    sums += listed.keys[(step + i) * fours + four] * Four::new(slopes[i]);
                }
                sum[four] = sums;
            }
            step += STEP;
        }
        start += tile;
    }

    if comptime!(best > 0) {
        if far > 0 {
            let (far_keys, far_values) = if comptime!(kept_keys.is_some()) {
                (kept_keys.unwrap(), kept_values.unwrap())
            } else {
                (k, v)
            };
            look_up::<F>(
                far_keys,
                far_values,
                chosen.unwrap(),
                order.unwrap(),
                &lookup,
                &own,
                &slope,
                &mut sum,
                own_lse,
                own_delta,
                d,
                best,
                true,
            );
        }
    }

    if first + unit < end {
        let to = place * tokens + query;
        #[unroll]
        for four in 0..fours {
            let mut numbers = sum[four];
            if comptime!(with_state) {
                if far > 0 {
                    let read = four_of::<f32>(read, of_tail * d, 1usize, 4 * four, d);
                    numbers += read * Four::new(own_mass);
                }
            }
            #[unroll]
            for i in 0..4usize {
                if comptime!(4 * four + i < d) {
                    dq[to * d + 4 * four + i] = numbers.extract(i) * scale;
                }
            }
        }
        delta[to] = own_delta;
        mass[to] = own_mass;
        bonus[to] = own_bonus;
    }
}

/// The weight of a key from its score minus the log-sum-exp; 0 for later keys.
#[cube]
fn weight_of(score: f32, key: usize, query: usize, seen: &Seen) -> f32 {
    // No weight is above 1, although the forward pass may have rounded large scores differently.
    let mut weight = min(score, f32::new(0.0)).exp();
    if key < seen.window && seen.near + key > query {
        weight = f32::new(0.0);
    }
    weight
}

/// Adds the contribution of looked-up tokens to a query's gradient in `sum`, if requested, and
/// returns Σ p · dp over them.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn look_up<F: Float>(
    k: &Tensor<F>,
    v: &Tensor<F>,
    chosen: &[u32],
    order: &[u32],
    lookup: &Lookup,
    own: &Array<Four>,
    slope: &Array<Four>,
    sum: &mut Array<Four>,
    own_lse: f32,
    own_delta: f32,
    #[comptime] d: usize,
    #[comptime] best: usize,
    #[comptime] adds: bool,
) -> f32 {
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let k_head = row * k.stride(0) + head * k.stride(1);
    let v_head = row * v.stride(0) + head * v.stride(1);
    let fours = comptime!(d.div_ceil(4));
    let mut delta = f32::new(0.0);
    for at in 0..best {
        let cluster = lookup.cluster(chosen, at, best);
        if cluster < lookup.all {
            let members = lookup.members(order, cluster);
            let mut number = members.begin;
            while number < members.end {
                let token = members.first + order[number] as usize;
                let k_row = k_head + token * k.stride(2);
                let v_row = v_head + token * v.stride(2);
                let mut scores = Four::new(0.0);
                let mut products = Four::new(0.0);
                #[unroll]
                for four in 0..fours {
                    scores += own[four] * four_of::<F>(k, k_row, k.stride(3), 4 * four, d);
                    products += slope[four] * four_of::<F>(v, v_row, v.stride(3), 4 * four, d);
                }
                let weight = min(sum_of(scores) - own_lse, f32::new(0.0)).exp();
                delta += weight * sum_of(products);
                if comptime!(adds) {
                    let factor = Four::new(weight * (sum_of(products) - own_delta));
                    #[unroll]
                    for four in 0..fours {
                        sum[four] += four_of::<F>(k, k_row, k.stride(3), 4 * four, d) * factor;
                    }
                }
                number += 1;
            }
        }
    }
    delta
}
