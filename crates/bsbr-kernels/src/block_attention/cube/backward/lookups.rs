//! Gradients of keys and values from queries that look them up: one unit per token of a far chunk,
//! with the tokens of a cluster adjacent.
//!
//! Few queries look up a given cluster. A block reads the choices of all candidates, lists those
//! that look up one of its clusters, and processes them when there are enough to keep all units
//! busy.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::Passed;
use super::keys::OfKeys;
use super::queries::OfQueries;
use crate::block_attention::cube::listed::{self, Four, four_of, sum_of};
use crate::block_attention::cube::lookup::LookedUp;
use crate::cube::{elements, room};

/// Keys of a block, and queries whose choices it reads at once: two words of bits.
const KEYS: usize = 64;

/// Numbers besides the vectors of a query.
const BESIDE: usize = 2;

/// Numbers of a listed query: its index, and two words of bits.
const LISTED: usize = 3;

/// Numbers that describe a block: its chunk, its first key in the order of clusters, the end of its
/// keys, and the first query that can look up the chunk.
const PLAN: usize = 4;

/// Queries in shared memory at a time.
fn tile(d: usize) -> usize {
    listed::tile(d, BESIDE, 1, KEYS)
}

/// Shared memory of a block, in bytes.
pub(super) fn shared_bytes(d: usize) -> usize {
    tile(d) * listed::row_bytes(d, BESIDE) + 4 * (2 * LISTED + 1) * KEYS
}

/// Gradients of the tokens of far chunks, in `f32`. `[B, H, F·S, D]`
pub(super) fn of_looked_up(passed: &Passed<'_>, given: &OfQueries, all: &LookedUp) -> OfKeys {
    let [q, k, v] = passed.inputs;
    let [k, v] = all.tokens([k, v]);
    let settings = passed.settings;
    let shape = q.shape();
    let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
    let (far, size) = (settings.grid.far_chunks(n), settings.grid.chunk_size);
    let mut plan = Vec::new();
    // The first are seen by the most queries, so they start first.
    for chunk in 0..far {
        let query = settings.grid.far_from(chunk);
        for first in (0..size).step_by(KEYS) {
            plan.extend([chunk, first, (first + KEYS).min(size), query]);
        }
    }
    let blocks = plan.len() / PLAN;
    let plan = super::numbers(&plan, q);
    let of = |values: bool| {
        let sums = room(q, [b, h, far * size, d], DType::F32);
        lookups_kernel::launch(
            &q.client,
            CubeCount::Static(blocks as u32, h as u32, b as u32),
            CubeDim::new_1d(KEYS as u32),
            q.clone().into_tensor_arg(),
            k.clone().into_tensor_arg(),
            v.clone().into_tensor_arg(),
            passed.grad.clone().into_tensor_arg(),
            passed.lse.clone().into_tensor_arg(),
            given.delta.clone().into_tensor_arg(),
            all.chosen.clone().into_tensor_arg(),
            all.order.clone().into_tensor_arg(),
            plan.clone().into_buffer_arg(),
            sums.clone().into_tensor_arg(),
            passed.scale,
            n as u32,
            settings.grid.sinks as u32,
            far as u32,
            settings.clusters as u32,
            size as u32,
            d,
            tile(d),
            settings.exact_clusters,
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
fn lookups_kernel<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    grad: &Tensor<F>,
    lse: &Tensor<f32>,
    delta: &Tensor<f32>,
    chosen: &Tensor<u32>,
    order: &Tensor<u32>,
    plan: &[u32],
    sums: &mut Tensor<f32>,
    scale: f32,
    tokens: u32,
    sinks: u32,
    far_chunks: u32,
    clusters: u32,
    size: u32,
    #[comptime] d: usize,
    #[comptime] tile: usize,
    #[comptime] best: usize,
    #[comptime] of_values: bool,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let place = row * CUBE_COUNT_Y as usize + head;
    let tokens = tokens as usize;
    let far_chunks = far_chunks as usize;
    let clusters = clusters as usize;
    let size = size as usize;
    let block = CUBE_POS_X as usize * PLAN;
    let chunk = plan[block] as usize;
    let first = plan[block + 1] as usize;
    let end = plan[block + 2] as usize;
    let from = plan[block + 3] as usize;
    let begins = (place * far_chunks + chunk) * (clusters + 1 + size);
    let first_cluster = chunk * clusters;

    let fours = comptime!(d.div_ceil(4));
    let mut queries = Shared::<[Four]>::new_slice(comptime!(tile * fours));
    let mut slopes = Shared::<[Four]>::new_slice(comptime!(tile * fours));
    let mut shared_lse = Shared::<[f32]>::new_slice(tile);
    let mut shared_delta = Shared::<[f32]>::new_slice(tile);
    let mut looks = Shared::<[u32]>::new_slice(KEYS);
    let mut listed = Shared::<[u32]>::new_slice(comptime!(2 * LISTED * KEYS));

    // Units without a key repeat the last one, and do not write.
    let own = min(first + unit, end - 1);
    let key = chunk * size + order[begins + clusters + 1 + own] as usize;
    let token = sinks as usize + key;
    let k_row = row * k.stride(0) + head * k.stride(1) + token * k.stride(2);
    let v_row = row * v.stride(0) + head * v.stride(1) + token * v.stride(2);
    let mut own_keys = Array::<Four>::new(fours);
    let mut own_values = Array::<Four>::new(fours);
    let mut sum = Array::<Four>::new(fours);
    #[unroll]
    for four in 0..fours {
        own_keys[four] = four_of::<F>(k, k_row, k.stride(3), 4 * four, d);
        own_values[four] = four_of::<F>(v, v_row, v.stride(3), 4 * four, d);
        sum[four] = Four::new(0.0);
    }
    let (word, bit) = ((own - first) / 32, ((own - first) % 32) as u32);

    let q_head = row * q.stride(0) + head * q.stride(1);
    let grad_head = row * grad.stride(0) + head * grad.stride(1);
    let mut held = 0usize;
    let mut start = from;
    while start < tokens {
        // Which of the block's keys the next queries look up.
        let query = start + unit;
        let mut low = 0u32;
        let mut high = 0u32;
        if query < tokens {
            let list = (place * tokens + query) * best;
            for at in 0..best {
                let cluster = chosen[list + at] as usize;
                if cluster >= first_cluster && cluster < first_cluster + clusters {
                    let begin = order[begins + cluster - first_cluster] as usize;
                    let stop = order[begins + cluster - first_cluster + 1] as usize;
                    let begin = min(max(begin, first), end) - first;
                    let stop = min(max(stop, first), end) - first;
                    low |= bits_below(min(stop, 32)) ^ bits_below(min(begin, 32));
                    high |= bits_below(max(stop, 32) - 32) ^ bits_below(max(begin, 32) - 32);
                }
            }
        }
        let mut is_listed = 0u32;
        if low != 0u32 || high != 0u32 {
            is_listed = 1u32;
        }
        looks[unit] = is_listed;
        sync_cube();
        let mut place_in_list = held;
        let mut more = 0usize;
        for other in 0..KEYS {
            let one = looks[other] as usize;
            if other < unit {
                place_in_list += one;
            }
            more += one;
        }
        if is_listed == 1u32 {
            let at = place_in_list * LISTED;
            listed[at] = query as u32;
            listed[at + 1] = low;
            listed[at + 2] = high;
        }
        held += more;
        start += KEYS;
        sync_cube();

        if held >= KEYS || start >= tokens {
            let mut done = 0usize;
            while done < held {
                let count = min(tile, held - done);
                let mut item = unit;
                while item < count * fours {
                    let (at, four) = (item / fours, item % fours);
                    let query = listed[(done + at) * LISTED] as usize;
                    let q_row = q_head + query * q.stride(2);
                    let grad_row = grad_head + query * grad.stride(2);
                    queries[item] =
                        four_of::<F>(q, q_row, q.stride(3), 4 * four, d) * Four::new(scale);
                    slopes[item] = four_of::<F>(grad, grad_row, grad.stride(3), 4 * four, d);
                    item += KEYS;
                }
                if unit < count {
                    let query = listed[(done + unit) * LISTED] as usize;
                    shared_lse[unit] = lse[place * tokens + query];
                    shared_delta[unit] = delta[place * tokens + query];
                }
                sync_cube();
                for i in 0..count {
                    let bits = listed[(done + i) * LISTED + 1 + word];
                    if (bits >> bit) & 1u32 == 1u32 {
                        let mut scores = Four::new(0.0);
                        let mut products = Four::new(0.0);
                        #[unroll]
                        for four in 0..fours {
                            scores += own_keys[four] * queries[i * fours + four];
                            if comptime!(!of_values) {
                                products += own_values[four] * slopes[i * fours + four];
                            }
                        }
                        let score = sum_of(scores) - shared_lse[i];
                        // No weight is above 1, although the forward pass may have rounded large
                        // scores differently.
                        let mut factor = min(score, f32::new(0.0)).exp();
                        if comptime!(!of_values) {
                            factor *= sum_of(products) - shared_delta[i];
                        }
                        #[unroll]
                        for four in 0..fours {
                            if comptime!(of_values) {
                                sum[four] += slopes[i * fours + four] * Four::new(factor);
                            } else {
                                sum[four] += queries[i * fours + four] * Four::new(factor);
                            }
                        }
                    }
                }
                sync_cube();
                done += tile;
            }
            held = 0usize;
        }
    }

    if first + unit < end {
        let to = (place * far_chunks * size + key) * d;
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

/// A word with its lowest `count` bits set, at most 32.
#[cube]
pub(super) fn bits_below(count: usize) -> u32 {
    let mut bits = u32::MAX.runtime();
    if count < 32 {
        bits = (1u32 << count as u32) - 1u32;
    }
    bits
}
