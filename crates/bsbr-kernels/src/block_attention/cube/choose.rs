//! The clusters that each query looks up: one unit per query, which keeps the best scores of its
//! clusters.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use super::attend::{HIDDEN, PLAN, plan};
use super::listed::{self, Four, four_of, sum_of};
use crate::cube::{elements, room};

/// The maximum number of clusters that a unit keeps.
pub(super) const MOST: usize = 32;

/// Queries of a block.
const QUERIES: usize = 64;

/// Clusters with tokens have higher scores, clusters without tokens lower ones.
const LEAST: f32 = HIDDEN / 10.0;

/// Clusters in shared memory at a time.
fn tile(d: usize) -> usize {
    listed::tile(d, 1, 1, QUERIES)
}

/// Shared memory of a block, in bytes.
pub(super) fn shared_bytes(d: usize) -> usize {
    tile(d) * listed::row_bytes(d, 1)
}

/// The best clusters of each query, from the mean keys of clusters `[B, H, F·G, D]` and the bias of
/// their scores `[B, H, F·G]`: indices from the head's first cluster in ascending order, then F·G
/// for missing ones. `[B, H, N, t]`
pub(super) fn choose(
    q: &CubeTensor,
    [keys, bias]: [&CubeTensor; 2],
    settings: &BlockAttention,
    scale: f32,
) -> CubeTensor {
    let shape = q.shape();
    let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
    let best = settings.exact_clusters;
    let chosen = room(q, [b, h, n, best], DType::U32);
    let (plan, blocks) = plan(settings, n, QUERIES, q);
    choose_kernel::launch(
        &q.client,
        CubeCount::Static(blocks as u32, h as u32, b as u32),
        CubeDim::new_1d(QUERIES as u32),
        q.clone().into_tensor_arg(),
        keys.clone().into_tensor_arg(),
        bias.clone().into_tensor_arg(),
        plan.into_buffer_arg(),
        chosen.clone().into_tensor_arg(),
        scale,
        n as u32,
        (settings.grid.far_chunks(n) * settings.clusters) as u32,
        settings.clusters as u32,
        d,
        tile(d),
        best,
        elements(q.dtype),
    );
    chosen
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn choose_kernel<F: Float>(
    q: &Tensor<F>,
    keys: &Tensor<f32>,
    bias: &Tensor<f32>,
    plan: &[u32],
    chosen: &mut Tensor<u32>,
    scale: f32,
    tokens: u32,
    all_clusters: u32,
    clusters: u32,
    #[comptime] d: usize,
    #[comptime] tile: usize,
    #[comptime] best: usize,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let place = row * CUBE_COUNT_Y as usize + head;
    let block = CUBE_POS_X as usize * PLAN;
    let first = plan[block] as usize;
    let end = plan[block + 1] as usize;
    let seen = plan[block + 3] as usize * clusters as usize;
    let first_cluster = place * all_clusters as usize;

    let fours = comptime!(d.div_ceil(4));
    let mut shared_keys = Shared::<[Four]>::new_slice(comptime!(tile * fours));
    let mut shared_bias = Shared::<[f32]>::new_slice(tile);

    // Units without a query repeat the last one, and do not write.
    let query = min(first + unit, end - 1);
    let q_row = row * q.stride(0) + head * q.stride(1) + query * q.stride(2);
    let mut own = Array::<Four>::new(fours);
    #[unroll]
    for four in 0..fours {
        own[four] = four_of::<F>(q, q_row, q.stride(3), 4 * four, d) * Four::new(scale);
    }
    // The best so far, in descending order; ties keep the first.
    let mut scores = Array::<f32>::new(best);
    let mut ids = Array::<u32>::new(best);
    for at in 0..best {
        scores[at] = f32::new(LEAST);
        ids[at] = all_clusters;
    }
    let mut least = f32::new(LEAST);

    let mut start = 0usize;
    while start < seen {
        sync_cube();
        let mut item = unit;
        while item < tile * fours {
            let (cluster, four) = (start + item / fours, item % fours);
            let mut of_cluster = Four::new(0.0);
            if cluster < seen {
                let key = (first_cluster + cluster) * d;
                of_cluster = four_of::<f32>(keys, key, 1usize, 4 * four, d);
            }
            shared_keys[item] = of_cluster;
            item += QUERIES;
        }
        if unit < tile && start + unit < seen {
            shared_bias[unit] = bias[first_cluster + start + unit];
        }
        sync_cube();

        let count = min(tile, seen - start);
        for i in 0..count {
            let mut products = Four::new(0.0);
            #[unroll]
            for four in 0..fours {
                products += own[four] * shared_keys[i * fours + four];
            }
            let score = sum_of(products) + shared_bias[i];
            if score > least {
                // It replaces the worst, and moves up to behind equal or better ones.
                let mut at = comptime!(best - 1).runtime();
                let mut rises = true.runtime();
                while rises {
                    rises = false;
                    if at > 0 {
                        let before = scores[at - 1];
                        if before < score {
                            scores[at] = before;
                            ids[at] = ids[at - 1];
                            at -= 1;
                            rises = true;
                        }
                    }
                }
                scores[at] = score;
                ids[at] = (start + i) as u32;
                least = scores[comptime!(best - 1)];
            }
        }
        start += tile;
    }

    // From the order of scores to the order of clusters.
    for i in 1..best {
        let id = ids[i];
        let mut at = i;
        let mut falls = true.runtime();
        while falls {
            falls = false;
            if at > 0 {
                let before = ids[at - 1];
                if before > id {
                    ids[at] = before;
                    at -= 1;
                    falls = true;
                }
            }
        }
        ids[at] = id;
    }
    if first + unit < end {
        let to = (place * tokens as usize + query) * best;
        for at in 0..best {
            chosen[to + at] = ids[at];
        }
    }
}
