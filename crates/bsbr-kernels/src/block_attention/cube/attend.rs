//! One softmax over everything that a query sees: one unit per query, and one cube per block of
//! queries of a chunk, which see the same keys except on the diagonal.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use super::listed::{self, Four, Listed, Seen, four_of, sum_of};
use super::lookup::{LookedUp, Lookup, Weighed, look_up};
use crate::cube::{elements, room};

/// Queries of a block.
const QUERIES: usize = 64;

/// Keys that are weighed together.
const STEP: usize = 4;

/// Score of hidden keys: finite, because WGSL has no infinity.
pub(super) const HIDDEN: f32 = -1e30;

/// What all queries of a chunk see, in `f32`.
pub(super) struct Alike {
    /// Mean keys of the clusters. `[B, H, F·G, D]`
    pub(super) keys: CubeTensor,
    /// Mean values of the clusters. `[B, H, F·G, D]`
    pub(super) values: CubeTensor,
    /// ln m. `[B, H, F·G]`
    pub(super) bias: CubeTensor,
    /// The state that each chunk with a far field reads. `[B, H, F, D, D]`
    pub(super) states: Option<CubeTensor>,
    /// The tokens that queries look up.
    pub(super) looked_up: Option<LookedUp>,
}

/// Keys in shared memory at a time.
fn tile(d: usize) -> usize {
    listed::tile(d, 1, STEP, QUERIES)
}

/// Shared memory of a block, in bytes.
pub(super) fn shared_bytes(d: usize) -> usize {
    tile(d) * listed::row_bytes(d, 1)
}

/// Output `[B, N, H, D]` in the type of the inputs `[B, H, N, D]`, and the log-sum-exp of
/// every query's scores `[B, H, N]` in `f32`.
pub(super) fn attend(
    [q, k, v]: [CubeTensor; 3],
    alike: Option<Alike>,
    settings: &BlockAttention,
    scale: f32,
) -> (CubeTensor, CubeTensor) {
    let shape = q.shape();
    let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
    let out = room(&q, [b, n, h, d], q.dtype);
    let lse = room(&q, [b, h, n], DType::F32);
    let nothing = || room(&q, [1], DType::F32);
    let clusters = alike.as_ref().map_or(0, |_| settings.clusters);
    let looked_up = alike.as_ref().and_then(|alike| alike.looked_up.as_ref());
    let best = looked_up.map_or(0, |_| settings.exact_clusters);
    let chosen = looked_up.map(|all| all.chosen.clone().into_buffer_arg());
    let order = looked_up.map(|all| all.order.clone().into_buffer_arg());
    let [kept_keys, kept_values] = looked_up.map_or([None, None], LookedUp::kept_args);
    let (keys, values, bias, states) = match alike {
        None => (nothing(), nothing(), nothing(), None),
        Some(x) => (x.keys, x.values, x.bias, x.states),
    };
    let with_state = states.is_some();
    let states = states.unwrap_or_else(nothing);
    let (plan, blocks) = plan(settings, n, QUERIES, &q);
    attend_kernel::launch(
        &q.client,
        CubeCount::Static(blocks as u32, h as u32, b as u32),
        CubeDim::new_1d(QUERIES as u32),
        q.clone().into_tensor_arg(),
        k.into_tensor_arg(),
        v.into_tensor_arg(),
        keys.into_tensor_arg(),
        values.into_tensor_arg(),
        bias.into_tensor_arg(),
        states.into_tensor_arg(),
        chosen.into(),
        order.into(),
        kept_keys.into(),
        kept_values.into(),
        plan.into_buffer_arg(),
        out.clone().into_tensor_arg(),
        lse.clone().into_tensor_arg(),
        scale,
        n as u32,
        settings.grid.sinks as u32,
        settings.grid.far_chunks(n) as u32,
        clusters as u32,
        settings.grid.chunk_size as u32,
        d,
        tile(d),
        best,
        with_state,
        elements(q.dtype),
    );
    (out, lse)
}

/// Numbers that describe a block: its first query, the end of its queries, the first token of its
/// window, and the number of its far chunks.
pub(super) const PLAN: usize = 4;

/// The blocks of a sequence, of at most `size` queries, on the device of `like`, and their number.
pub(super) fn plan(
    settings: &BlockAttention,
    tokens: usize,
    size: usize,
    like: &CubeTensor,
) -> (CubeTensor, usize) {
    let mut plan = Vec::new();
    // The last blocks see most keys, so they start first.
    for chunk in (0..settings.query_chunks(tokens)).rev() {
        let (seen, queries) = (settings.seen(chunk), settings.queries(chunk, tokens));
        for first in queries.clone().step_by(size).rev() {
            let end = (first + size).min(queries.end);
            plan.extend([first, end, seen.near, seen.far].map(|x| x as u32));
        }
    }
    let bytes: Vec<u8> = plan.iter().flat_map(|x| x.to_ne_bytes()).collect();
    let numbers = like.client.create_from_slice(&bytes);
    let (client, device) = (like.client.clone(), like.device.clone());
    let size = plan.len();
    let plan = CubeTensor::new_contiguous(client, device, [size].into(), numbers, DType::U32);
    (plan, size / PLAN)
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
#[allow(clippy::collapsible_if)] // the outer one is decided when a kernel is compiled
fn attend_kernel<F: Float>(
    q: &Tensor<F>,
    k: &Tensor<F>,
    v: &Tensor<F>,
    keys: &Tensor<f32>,
    values: &Tensor<f32>,
    bias: &Tensor<f32>,
    states: &Tensor<f32>,
    chosen: ComptimeOption<&[u32]>,
    order: ComptimeOption<&[u32]>,
    kept_keys: ComptimeOption<&Tensor<F>>,
    kept_values: ComptimeOption<&Tensor<F>>,
    plan: &[u32],
    out: &mut Tensor<F>,
    lse: &mut Tensor<f32>,
    scale: f32,
    tokens: u32,
    sinks: u32,
    far_chunks: u32,
    clusters: u32,
    chunk_size: u32,
    #[comptime] d: usize,
    #[comptime] tile: usize,
    #[comptime] best: usize,
    #[comptime] with_state: bool,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let heads = CUBE_COUNT_Y as usize;
    let place = row * heads + head;
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
    let far_chunks = far_chunks as usize;
    let window = end - near;
    let exact = window + sinks;
    let seen = Seen {
        near,
        window,
        exact,
        total: exact + far * clusters,
        first_cluster: place * far_chunks * clusters,
    };

    let fours = comptime!(d.div_ceil(4));
    let mut listed = Listed::new(tile, d);

    // Units without a query repeat the last one, and do not write.
    let query = min(first + unit, end - 1);
    let q_row = row * q.stride(0) + head * q.stride(1) + query * q.stride(2);
    let mut own = Array::<Four>::new(fours);
    let mut sum = Array::<Four>::new(fours);
    #[unroll]
    for four in 0..fours {
        own[four] = four_of::<F>(q, q_row, q.stride(3), 4 * four, d) * Four::new(scale);
        sum[four] = Four::new(0.0);
    }
    let mut most = f32::new(HIDDEN);
    let mut norm = f32::new(0.0);
    let mut mass = f32::new(0.0);
    // The next looked-up cluster, which the query does not see as a cluster.
    let lookup = Lookup {
        list: (place * tokens + query) * best,
        orders: place * far_chunks * (clusters + 1 + chunk_size as usize),
        all: far_chunks * clusters,
        clusters,
        size: chunk_size as usize,
        sinks,
    };
    let mut looked_up = 0usize;
    let mut hidden = 0usize;
    if comptime!(best > 0) {
        hidden = seen.exact + lookup.cluster(chosen.unwrap(), looked_up, best);
    }

    let mut start = 0usize;
    while start < seen.total {
        sync_cube();
        listed.store::<F>(k, v, keys, values, bias, &seen, start, tile, d, QUERIES);
        sync_cube();

        let mut step = 0usize;
        while step < tile {
            let mut scores = Array::<f32>::new(STEP);
            let mut highest = most;
            #[unroll]
            for i in 0..STEP {
                let mut products = Four::new(0.0);
                #[unroll]
                for four in 0..fours {
                    products += own[four] * listed.keys[(step + i) * fours + four];
                }
                let mut score = sum_of(products) + listed.bias[step + i];
                let key = start + step + i;
                if key < seen.window && seen.near + key > query {
                    score = f32::new(HIDDEN);
                }
                if comptime!(best > 0) {
                    if key == hidden {
                        score = f32::new(HIDDEN);
                        looked_up += 1;
                        hidden = seen.exact + lookup.cluster(chosen.unwrap(), looked_up, best);
                    }
                }
                scores[i] = score;
                highest = max(highest, score);
            }
            let kept = (most - highest).exp();
            most = highest;
            norm *= kept;
            mass *= kept;
            #[unroll]
            for i in 0..STEP {
                let weight = (scores[i] - highest).exp();
                norm += weight;
                if start + step + i >= seen.exact {
                    mass += weight;
                }
                scores[i] = weight;
            }
            #[unroll]
            for four in 0..fours {
                let mut values = sum[four] * Four::new(kept);
                #[unroll]
                for i in 0..STEP {
                    values += listed.values[(step + i) * fours + four] * Four::new(scores[i]);
                }
                sum[four] = values;
            }
            step += STEP;
        }
        start += tile;
    }

    if comptime!(best > 0) {
        if far > 0 {
            let before = Weighed { most, norm, mass };
            let (far_keys, far_values) = if comptime!(kept_keys.is_some()) {
                (kept_keys.unwrap(), kept_values.unwrap())
            } else {
                (k, v)
            };
            let after = look_up::<F>(
                far_keys,
                far_values,
                chosen.unwrap(),
                order.unwrap(),
                &lookup,
                &own,
                &mut sum,
                before,
                d,
                best,
            );
            most = after.most;
            norm = after.norm;
            mass = after.mass;
        }
    }

    // The state's rows act as values, with weights M · scale · q.
    if comptime!(with_state) {
        if far > 0 {
            let state = (place * far_chunks + far - 1) * d * d;
            let mut start = 0usize;
            while start < d {
                sync_cube();
                let mut item = unit;
                while item < tile * fours {
                    let (dim, four) = (start + item / fours, item % fours);
                    let mut of_row = Four::new(0.0);
                    if dim < d {
                        of_row = four_of::<f32>(states, state + dim * d, 1usize, 4 * four, d);
                    }
                    listed.values[item] = of_row;
                    item += QUERIES;
                }
                sync_cube();
                let rows = min(tile, d - start);
                for i in 0..rows {
                    let x = f32::cast_from(q[q_row + (start + i) * q.stride(3)]);
                    let weight = Four::new(mass * scale * x);
                    #[unroll]
                    for four in 0..fours {
                        sum[four] += listed.values[i * fours + four] * weight;
                    }
                }
                start += tile;
            }
        }
    }

    if first + unit < end {
        let out_row = ((row * tokens + query) * heads + head) * d;
        let share = f32::new(1.0) / norm;
        #[unroll]
        for four in 0..fours {
            #[unroll]
            for i in 0..4usize {
                if comptime!(4 * four + i < d) {
                    out[out_row + 4 * four + i] = F::cast_from(sum[four].extract(i) * share);
                }
            }
        }
        lse[place * tokens + query] = most + norm.ln();
    }
}
