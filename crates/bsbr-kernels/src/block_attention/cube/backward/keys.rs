//! Gradients of keys and values: one unit per key, over the queries that see it.
//!
//! For keys that many queries see (sinks and clusters), the queries are divided into parts, whose
//! sums are added.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::Passed;
use super::queries::OfQueries;
use crate::block_attention::BlockAttention;
use crate::block_attention::cube::listed::{self, Four, four_of, sum_of};
use crate::cube::{elements, room};

/// Keys of a block.
const KEYS: usize = 64;

/// Queries that are weighed together.
const STEP: usize = 2;

/// Numbers besides the vectors of a query: with lookups, two words with a bit per key.
const fn beside(looks: bool) -> usize {
    if looks { 5 } else { 3 }
}

/// Queries of a part, if this gives at most [`PARTS`] parts.
const PART: usize = 1024;
const PARTS: usize = 16;

/// Numbers that describe a block: its first key, the end of its keys, the first query, the end of
/// the queries, and the number of the part.
const PLAN: usize = 5;

/// Log-sum-exp of a missing query.
const NOBODY: f32 = 1e30;

/// Queries in shared memory at a time.
fn tile(d: usize, looks: bool) -> usize {
    listed::tile(d, beside(looks), STEP, KEYS)
}

/// Shared memory of a block, in bytes.
pub(super) fn shared_bytes(d: usize, looks: bool) -> usize {
    tile(d, looks) * listed::row_bytes(d, beside(looks))
}

/// Gradients of keys and values, in `f32`.
pub(super) struct OfKeys {
    /// Of keys. `[parts, B, H, keys, D]`
    pub dk: CubeTensor,
    /// Of values. `[parts, B, H, keys, D]`
    pub dv: CubeTensor,
}

/// Gradients of tokens in the windows of queries; nothing is written for sinks.
pub(super) fn of_tokens(passed: &Passed<'_>, given: &OfQueries) -> OfKeys {
    let settings = passed.settings;
    let tokens = passed.inputs[0].shape()[2];
    let mut plan = Vec::new();
    for chunk in 0..settings.query_chunks(tokens) {
        let own = settings.grid.start_of(chunk)..settings.grid.start_of(chunk + 1).min(tokens);
        let last = settings.grid.far_from(chunk);
        for first in own.clone().step_by(KEYS) {
            let end = (first + KEYS).min(own.end);
            plan.extend([first, end, first, last.min(tokens), 0]);
        }
    }
    launch(passed, given, &plan, [1, tokens], tokens)
}

/// Gradients of sinks and then of clusters, if there are any.
pub(super) fn of_alike(passed: &Passed<'_>, given: &OfQueries) -> Option<OfKeys> {
    let settings = passed.settings;
    let tokens = passed.inputs[0].shape()[2];
    let sinks = settings.grid.sinks.min(tokens);
    let clusters = passed.alike.map_or(0, |_| settings.clusters);
    let keys = sinks + settings.grid.far_chunks(tokens) * clusters;
    if keys == 0 {
        return None;
    }
    let part = PART.max(tokens.div_ceil(PARTS));
    let parts = tokens.div_ceil(part);
    let mut plan = Vec::new();
    for number in 0..parts {
        let (from, to) = (number * part, ((number + 1) * part).min(tokens));
        for first in (0..keys).step_by(KEYS) {
            let end = (first + KEYS).min(keys);
            let seen = first_of(settings, first).max(from).min(to);
            plan.extend([first, end, seen, to, number]);
        }
    }
    Some(launch(passed, given, &plan, [parts, keys], sinks))
}

/// The first query that sees a sink or a cluster.
fn first_of(settings: &BlockAttention, key: usize) -> usize {
    match key.checked_sub(settings.grid.sinks) {
        None => key,
        Some(cluster) => settings.grid.far_from(cluster / settings.clusters.max(1)),
    }
}

/// Sums over the queries of blocks. Keys up to `first_cluster` are tokens, the others clusters.
fn launch(
    passed: &Passed<'_>,
    given: &OfQueries,
    plan: &[usize],
    [parts, keys]: [usize; 2],
    first_cluster: usize,
) -> OfKeys {
    let [q, k, v] = passed.inputs;
    let settings = passed.settings;
    let shape = q.shape();
    let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
    let clusters = passed.alike.map_or(0, |_| settings.clusters);
    let [cluster_keys, cluster_values, bias] = match passed.alike {
        None => [(); 3].map(|()| room(q, [1], DType::F32)),
        Some(all) => [&all.keys, &all.values, &all.bias].map(Clone::clone),
    };
    let of_clusters = passed.alike.filter(|_| first_cluster < keys);
    let looked_up = of_clusters.and_then(|alike| alike.looked_up.as_ref());
    let best = looked_up.map_or(0, |_| settings.exact_clusters);
    let blocks = plan.len() / PLAN;
    let plan = super::numbers(plan, q);
    let far = settings.grid.far_chunks(n);
    let of = |values: bool| {
        let sums = room(q, [parts, b, h, keys, d], DType::F32);
        if blocks == 0 {
            return sums;
        }
        keys_kernel::launch(
            &q.client,
            CubeCount::Static(blocks as u32, h as u32, b as u32),
            CubeDim::new_1d(KEYS as u32),
            q.clone().into_tensor_arg(),
            k.clone().into_tensor_arg(),
            v.clone().into_tensor_arg(),
            passed.grad.clone().into_tensor_arg(),
            passed.lse.clone().into_tensor_arg(),
            given.delta.clone().into_tensor_arg(),
            given.bonus.clone().into_tensor_arg(),
            cluster_keys.clone().into_tensor_arg(),
            cluster_values.clone().into_tensor_arg(),
            bias.clone().into_tensor_arg(),
            looked_up
                .map(|all| all.chosen.clone().into_buffer_arg())
                .into(),
            plan.clone().into_buffer_arg(),
            sums.clone().into_tensor_arg(),
            passed.scale,
            n as u32,
            first_cluster as u32,
            (far * clusters) as u32,
            clusters.max(1) as u32,
            settings.grid.chunk_size as u32,
            settings.grid.far_from(0) as u32,
            keys as u32,
            d,
            tile(d, best > 0),
            best,
            values,
            elements(q.dtype),
        );
        sums
    };
    OfKeys {
        dk: of(false),
        dv: of(true),
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
#[allow(clippy::collapsible_if)] // the outer one is decided when a kernel is compiled
fn keys_kernel<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    grad: &Tensor<F>,
    lse: &Tensor<f32>,
    delta: &Tensor<f32>,
    bonus: &Tensor<f32>,
    cluster_keys: &Tensor<f32>,
    cluster_values: &Tensor<f32>,
    bias: &Tensor<f32>,
    chosen: ComptimeOption<&[u32]>,
    plan: &[u32],
    sums: &mut Tensor<f32>,
    scale: f32,
    tokens: u32,
    first_cluster: u32,
    all_clusters: u32,
    clusters: u32,
    chunk_size: u32,
    first_of_tail: u32,
    all_keys: u32,
    #[comptime] d: usize,
    #[comptime] tile: usize,
    #[comptime] best: usize,
    #[comptime] of_values: bool,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let (rows, heads) = (CUBE_COUNT_Z as usize, CUBE_COUNT_Y as usize);
    let place = row * heads + head;
    let tokens = tokens as usize;
    let block = CUBE_POS_X as usize * PLAN;
    let first = plan[block] as usize;
    let end = plan[block + 1] as usize;
    let from = plan[block + 2] as usize;
    let to = plan[block + 3] as usize;
    let part = plan[block + 4] as usize;
    let first_of_tail = first_of_tail as usize;

    let fours = comptime!(d.div_ceil(4));
    let mut queries = Shared::<[Four]>::new_slice(tile * fours);
    let mut slopes = Shared::<[Four]>::new_slice(tile * fours);
    let mut shared_lse = Shared::<[f32]>::new_slice(tile);
    let mut shared_delta = Shared::<[f32]>::new_slice(tile);
    let mut shared_bonus = Shared::<[f32]>::new_slice(tile);
    // A bit for each key of the block, set if a query looks up the cluster.
    let words = comptime!(if best > 0 { 2 * tile } else { 1 });
    let mut looks = Shared::<[u32]>::new_slice(words);

    // Units without a key repeat the last one, and do not write.
    let key = min(first + unit, end - 1);
    let mut own_keys = Array::<Four>::new(fours);
    let mut own_values = Array::<Four>::new(fours);
    let mut sum = Array::<Four>::new(fours);
    let mut seen_from = key;
    let mut own_bias = f32::new(0.0);
    let mut of_bonus = f32::new(0.0);
    let first_cluster = first_cluster as usize;
    if key >= first_cluster {
        let number = key - first_cluster;
        let cluster = place * all_clusters as usize + number;
        own_bias = bias[cluster];
        of_bonus = f32::new(1.0);
        seen_from = first_of_tail + number / clusters as usize * chunk_size as usize;
        #[unroll]
        for four in 0..fours {
            own_keys[four] = four_of::<f32>(cluster_keys, cluster * d, 1usize, 4 * four, d);
            own_values[four] = four_of::<f32>(cluster_values, cluster * d, 1usize, 4 * four, d);
        }
    } else {
        let k_row = row * k.stride(0) + head * k.stride(1) + key * k.stride(2);
        let v_row = row * v.stride(0) + head * v.stride(1) + key * v.stride(2);
        #[unroll]
        for four in 0..fours {
            own_keys[four] = four_of::<F>(k, k_row, k.stride(3), 4 * four, d);
            own_values[four] = four_of::<F>(v, v_row, v.stride(3), 4 * four, d);
        }
    }
    #[unroll]
    for four in 0..fours {
        sum[four] = Four::new(0.0);
    }

    let q_head = row * q.stride(0) + head * q.stride(1);
    let grad_head = row * grad.stride(0) + head * grad.stride(1);
    let mut start = from;
    while start < to {
        sync_cube();
        let mut item = unit;
        while item < tile * fours {
            let (query, four) = (start + item / fours, item % fours);
            if query < to {
                let q_row = q_head + query * q.stride(2);
                let grad_row = grad_head + query * grad.stride(2);
                queries[item] = four_of::<F>(q, q_row, q.stride(3), 4 * four, d) * Four::new(scale);
                slopes[item] = four_of::<F>(grad, grad_row, grad.stride(3), 4 * four, d);
            } else {
                queries[item] = Four::new(0.0);
                slopes[item] = Four::new(0.0);
            }
            item += KEYS;
        }
        if unit < tile {
            let query = start + unit;
            let mut of_query = f32::new(NOBODY);
            let mut its_delta = f32::new(0.0);
            let mut its_bonus = f32::new(0.0);
            if query < to {
                of_query = lse[place * tokens + query];
                its_delta = delta[place * tokens + query];
                its_bonus = bonus[place * tokens + query];
            }
            shared_lse[unit] = of_query;
            shared_delta[unit] = its_delta;
            shared_bonus[unit] = its_bonus;
            if comptime!(best > 0) {
                let mut low = 0u32;
                let mut high = 0u32;
                if query < to {
                    let chosen = chosen.unwrap();
                    let list = (place * tokens + query) * best;
                    for at in 0..best {
                        let number = first_cluster + chosen[list + at] as usize;
                        if number >= first && number < first + 32 {
                            low |= 1u32 << (number - first) as u32;
                        } else if number >= first + 32 && number < first + KEYS {
                            high |= 1u32 << (number - first - 32) as u32;
                        }
                    }
                }
                looks[2 * unit] = low;
                looks[2 * unit + 1] = high;
            }
        }
        sync_cube();

        let mut step = 0usize;
        while step < tile {
            let mut factors = Array::<f32>::new(STEP);
            #[unroll]
            for i in 0..STEP {
                let mut scores = Four::new(0.0);
                let mut products = Four::new(0.0);
                #[unroll]
                for four in 0..fours {
                    scores += own_keys[four] * queries[(step + i) * fours + four];
                    if comptime!(!of_values) {
                        products += own_values[four] * slopes[(step + i) * fours + four];
                    }
                }
                let score = sum_of(scores) + own_bias - shared_lse[step + i];
                // No weight is above 1, although the forward pass may have rounded large scores
                // differently.
                let mut factor = min(score, f32::new(0.0)).exp();
                if start + step + i < seen_from {
                    factor = f32::new(0.0);
                }
                if comptime!(best > 0) {
                    let bits = looks[2 * (step + i) + unit / 32];
                    if (bits >> (unit % 32) as u32) & 1u32 == 1u32 {
                        factor = f32::new(0.0);
                    }
                }
                if comptime!(!of_values) {
                    factor *= sum_of(products) + of_bonus * shared_bonus[step + i]
                        - shared_delta[step + i];
                }
                factors[i] = factor;
            }
            #[unroll]
            for four in 0..fours {
                let mut own = sum[four];
                #[unroll]
                for i in 0..STEP {
                    let at = (step + i) * fours + four;
                    if comptime!(of_values) {
                        own += slopes[at] * Four::new(factors[i]);
                    } else {
                        own += queries[at] * Four::new(factors[i]);
                    }
                }
                sum[four] = own;
            }
            step += STEP;
        }
        start += tile;
    }

    if first + unit < end {
        let to = (((part * rows + row) * heads + head) * all_keys as usize + key) * d;
        #[unroll]
        for four in 0..fours {
            #[unroll]
            for i in 0..4usize {
                if comptime!(4 * four + i < d) {
                    sums[to + 4 * four + i] = sum[four].extract(i);
                }
            }
        }
    }
}
