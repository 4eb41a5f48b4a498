//! Clusters and states of far chunks, a cube of units for each chunk.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use super::order::{self, write_order};
use crate::clusters::split::POWER_ITERATIONS;
use crate::cube::{elements, room};

/// Units that summarise one chunk.
const UNITS: usize = 128;

/// ln m of an empty cluster: finite, because WGSL has no infinity.
const EMPTY: f32 = -1e30;

/// The largest number of a state, low enough that sums of a few are finite.
const LARGEST: f32 = 1e37;

/// The summaries of the far chunks, in `f32`.
pub(super) struct Summary {
    /// Mean keys of the clusters. `[B, H, F·G, D]`
    pub(super) keys: CubeTensor,
    /// Mean values of the clusters. `[B, H, F·G, D]`
    pub(super) values: CubeTensor,
    /// ln m. `[B, H, F·G]`
    pub(super) bias: CubeTensor,
    /// Mean key of each chunk. `[B, H, F, D]`
    pub(super) means: CubeTensor,
    /// (1/S) Σ (k − k̄) vᵀ, if requested. `[B, H, F, D, D]`
    pub(super) states: Option<CubeTensor>,
    /// 1 if a token is in a cluster, if requested. `[B, H, F, G, S]`
    pub(super) members: Option<CubeTensor>,
    /// The tokens of each cluster, if requested: see [`order`]. `[B, H, F, G + 1 + S]`
    pub(super) order: Option<CubeTensor>,
}

/// The requested results besides clusters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// States of chunks.
    pub(super) states: bool,
    /// Which tokens are in which cluster.
    pub(super) members: bool,
    /// The tokens of each cluster one after the other.
    pub(super) order: bool,
}

/// Shared memory of a chunk whose keys stay in global memory, in bytes.
pub(super) fn shared_bytes(settings: &BlockAttention, d: usize) -> usize {
    let groups = (settings.clusters / 2).max(1);
    4 * (2 * settings.grid.chunk_size + UNITS + (2 * groups + settings.clusters) * d)
}

/// Whether the keys of a chunk also fit into shared memory.
fn stages(settings: &BlockAttention, d: usize, most: usize) -> bool {
    shared_bytes(settings, d) + 4 * settings.grid.chunk_size * (d + 1) <= most
}

/// Summarises the first `far` chunks of keys and values `[B, H, N, D]`.
pub(super) fn summarise(
    [k, v]: [&CubeTensor; 2],
    settings: &BlockAttention,
    far: usize,
    wanted: Wanted,
) -> Summary {
    let shape = k.shape();
    let [b, h, d] = [shape[0], shape[1], shape[3]];
    let width = far * settings.clusters;
    let f32s = |shape: &[usize]| room(k, shape, DType::F32);
    let summary = Summary {
        keys: f32s(&[b, h, width, d]),
        values: f32s(&[b, h, width, d]),
        bias: f32s(&[b, h, width]),
        means: f32s(&[b, h, far, d]),
        states: wanted.states.then(|| f32s(&[b, h, far, d, d])),
        members: wanted
            .members
            .then(|| f32s(&[b, h, far, settings.clusters, settings.grid.chunk_size])),
        order: wanted
            .order
            .then(|| room(k, [b, h, far, order::numbers(settings)], DType::U32)),
    };
    let [states, members] =
        [&summary.states, &summary.members].map(|room| room.clone().unwrap_or_else(|| f32s(&[1])));
    let order = summary.order.clone().map(CubeTensor::into_buffer_arg);
    let hardware = &k.client.properties().hardware;
    let most = hardware.max_cube_dim.0;
    let staged = stages(settings, d, hardware.max_shared_memory_size);
    summarise_kernel::launch(
        &k.client,
        CubeCount::Static(far as u32, h as u32, b as u32),
        CubeDim::new_1d((UNITS as u32).min(most)),
        k.clone().into_tensor_arg(),
        v.clone().into_tensor_arg(),
        summary.keys.clone().into_tensor_arg(),
        summary.values.clone().into_tensor_arg(),
        summary.bias.clone().into_tensor_arg(),
        summary.means.clone().into_tensor_arg(),
        states.into_tensor_arg(),
        members.into_tensor_arg(),
        order.into(),
        settings.grid.sinks as u32,
        settings.grid.chunk_size,
        settings.clusters,
        d,
        staged,
        wanted.states,
        wanted.members,
        wanted.order,
        elements(k.dtype),
    );
    summary
}

/// Rows and columns of a state that a unit sums at once: more than one if all units still have
/// work.
fn state_tile(d: usize) -> (usize, usize) {
    match d {
        0..48 => (1, 1),
        _ => (4, 8),
    }
}

/// Splits a chunk like [`split_into_clusters`](crate::split_into_clusters), all groups of a level
/// at once, and computes the means of the clusters.
#[cube(launch)]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn summarise_kernel<F: Float>(
    k: &Tensor<F>,
    v: &Tensor<F>,
    mean_keys: &mut Tensor<f32>,
    mean_values: &mut Tensor<f32>,
    bias: &mut Tensor<f32>,
    means: &mut Tensor<f32>,
    states: &mut Tensor<f32>,
    members: &mut Tensor<f32>,
    order: ComptimeOption<&mut [u32]>,
    sinks: u32,
    #[comptime] size: usize,
    #[comptime] clusters: usize,
    #[comptime] d: usize,
    #[comptime] staged: bool,
    #[comptime] with_state: bool,
    #[comptime] with_members: bool,
    #[comptime] with_order: bool,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS_X as usize;
    let units = CUBE_DIM_X as usize;
    let far = CUBE_COUNT_X as usize;
    let chunk = CUBE_POS_X as usize;
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let place = (row * CUBE_COUNT_Y as usize + head) * far + chunk;
    let first = sinks as usize + chunk * size;
    let (k_token, k_dim) = (k.stride(2), k.stride(3));
    let (v_token, v_dim) = (v.stride(2), v.stride(3));
    let k_first = row * k.stride(0) + head * k.stride(1) + first * k_token;
    let v_first = row * v.stride(0) + head * v.stride(1) + first * v_token;

    let most_groups = comptime!(if clusters > 1 { clusters / 2 } else { 1 });
    let mut ids = Shared::<[u32]>::new_slice(size);
    let mut along = Shared::<[f32]>::new_slice(size);
    let mut mean = Shared::<[f32]>::new_slice(most_groups * d);
    let mut axis = Shared::<[f32]>::new_slice(most_groups * d);
    let mut kept = Shared::<[f32]>::new_slice(clusters * d);
    // The keys, if they fit; rows begin in different banks.
    let room = comptime!(if staged { size * (d + 1) } else { 1 });
    let mut keys = Shared::<[f32]>::new_slice(room);
    let mut peaks = Shared::<[f32]>::new_slice(UNITS);

    let mut token = unit;
    while token < size {
        ids[token] = 0u32;
        token += units;
    }
    // Keys are scaled for the split, so that fourth powers are finite.
    let mut highest = f32::new(0.0);
    let mut item = unit;
    while item < size * d {
        let (token, dim) = (item / d, item % d);
        let x = f32::cast_from(k[k_first + token * k_token + dim * k_dim]);
        highest = max(highest, x.abs());
        if comptime!(staged) {
            keys[token * (d + 1) + dim] = x;
        }
        item += units;
    }
    peaks[unit] = highest;
    sync_cube();
    for at in 0..units {
        highest = max(highest, peaks[at]);
    }
    let scale = inverse_power_of_two(highest);
    let unscale = f32::new(1.0) / scale;
    if comptime!(staged) {
        let mut item = unit;
        while item < size * d {
            keys[item / d * (d + 1) + item % d] *= scale;
            item += units;
        }
    }
    sync_cube();

    let levels = comptime!(clusters.ilog2());
    for level in 0..levels {
        let groups = 1usize << level as usize;
        // Mean of each group.
        let mut item = unit;
        while item < groups * d {
            let (group, dim) = (item / d, item % d);
            let mut sum = f32::new(0.0);
            let mut count = f32::new(0.0);
            for token in 0..size {
                if ids[token] as usize == group {
                    sum += key::<F>(
                        k, k_first, k_token, k_dim, scale, &keys, token, dim, d, staged,
                    );
                    count += 1.0;
                }
            }
            mean[item] = sum / max(count, f32::new(1.0));
            item += units;
        }
        sync_cube();
        // Squared distance of each token from the mean.
        let mut token = unit;
        while token < size {
            let group = ids[token] as usize;
            let mut square = f32::new(0.0);
            for dim in 0..d {
                let x = key::<F>(
                    k, k_first, k_token, k_dim, scale, &keys, token, dim, d, staged,
                );
                let x = x - mean[group * d + dim];
                square += x * x;
            }
            along[token] = square;
            token += units;
        }
        sync_cube();
        // The axis starts as the direction to the farthest token, the first among ties.
        let mut item = unit;
        while item < groups * d {
            let (group, dim) = (item / d, item % d);
            let mut distance = f32::new(0.0);
            let mut farthest = 0usize;
            for token in 0..size {
                if ids[token] as usize == group && along[token] > distance {
                    distance = along[token];
                    farthest = token;
                }
            }
            let x = key::<F>(
                k, k_first, k_token, k_dim, scale, &keys, farthest, dim, d, staged,
            );
            let mut way = x - mean[item];
            // Without a distance the farthest token may belong to another group.
            if distance == 0.0 {
                way = f32::new(0.0);
            }
            axis[item] = way;
            item += units;
        }
        sync_cube();
        for _ in 0..POWER_ITERATIONS {
            project::<F>(
                k, k_first, k_token, k_dim, scale, &keys, &ids, &mean, &axis, &mut along, unit,
                units, size, d, staged,
            );
            sync_cube();
            // a ← Σ_j x_j (x_j·a)
            let mut item = unit;
            while item < groups * d {
                let (group, dim) = (item / d, item % d);
                let mut sum = f32::new(0.0);
                for token in 0..size {
                    if ids[token] as usize == group {
                        let x = key::<F>(
                            k, k_first, k_token, k_dim, scale, &keys, token, dim, d, staged,
                        );
                        sum += along[token] * (x - mean[item]);
                    }
                }
                axis[item] = sum;
                item += units;
            }
            sync_cube();
        }
        project::<F>(
            k, k_first, k_token, k_dim, scale, &keys, &ids, &mean, &axis, &mut along, unit, units,
            size, d, staged,
        );
        sync_cube();
        let mut token = unit;
        while token < size {
            let mut beyond = 0u32;
            if along[token] > 0.0 {
                beyond = 1u32;
            }
            ids[token] = 2u32 * ids[token] + beyond;
            token += units;
        }
        sync_cube();
    }

    // Means of the clusters.
    let mut item = unit;
    while item < clusters * d {
        let (cluster, dim) = (item / d, item % d);
        let mut sum_keys = f32::new(0.0);
        let mut sum_values = f32::new(0.0);
        let mut count = f32::new(0.0);
        for token in 0..size {
            if ids[token] as usize == cluster {
                sum_keys += key::<F>(
                    k, k_first, k_token, k_dim, scale, &keys, token, dim, d, staged,
                );
                sum_values += f32::cast_from(v[v_first + token * v_token + dim * v_dim]);
                count += 1.0;
            }
        }
        let share = f32::new(1.0) / max(count, f32::new(1.0));
        kept[item] = sum_keys * share;
        mean_keys[place * clusters * d + item] = sum_keys * share * unscale;
        mean_values[place * clusters * d + item] = sum_values * share;
        if dim == 0 {
            let mut log = f32::new(EMPTY);
            if count > 0.0 {
                log = count.ln();
            }
            bias[place * clusters + cluster] = log;
        }
        item += units;
    }
    if comptime!(with_members) {
        let mut item = unit;
        while item < clusters * size {
            let (cluster, token) = (item / size, item % size);
            let mut is_member = f32::new(0.0);
            if ids[token] as usize == cluster {
                is_member = f32::new(1.0);
            }
            members[place * clusters * size + item] = is_member;
            item += units;
        }
    }
    if comptime!(with_order) {
        let row = place * comptime!(clusters + 1 + size);
        write_order(&ids, order.unwrap(), row, unit, units, size, clusters);
    }
    // Mean of the chunk.
    let mut dim = unit;
    while dim < d {
        let mut sum = f32::new(0.0);
        for token in 0..size {
            sum += key::<F>(
                k, k_first, k_token, k_dim, scale, &keys, token, dim, d, staged,
            );
        }
        means[place * d + dim] = sum / f32::cast_from(size as u32) * unscale;
        dim += units;
    }
    if comptime!(with_state) {
        sync_cube();
        let (height, width) = comptime!(state_tile(d));
        let across = comptime!(d.div_ceil(width));
        let mut tile = unit;
        while tile < comptime!(d.div_ceil(height)) * across {
            let (top, left) = (tile / across * height, tile % across * width);
            let mut sums = Array::<f32>::new(height * width);
            #[unroll]
            for at in 0..height * width {
                sums[at] = f32::new(0.0);
            }
            for token in 0..size {
                let cluster = ids[token] as usize * d;
                let mut columns = Array::<f32>::new(width);
                #[unroll]
                for j in 0..width {
                    let dim = min(left + j, d - 1);
                    columns[j] = f32::cast_from(v[v_first + token * v_token + dim * v_dim]);
                }
                #[unroll]
                for i in 0..height {
                    let dim = min(top + i, d - 1);
                    let x = key::<F>(
                        k, k_first, k_token, k_dim, scale, &keys, token, dim, d, staged,
                    );
                    let x = x - kept[cluster + dim];
                    #[unroll]
                    for j in 0..width {
                        sums[i * width + j] += x * columns[j];
                    }
                }
            }
            #[unroll]
            for i in 0..height {
                #[unroll]
                for j in 0..width {
                    if top + i < d && left + j < d {
                        // Larger numbers are inexact, but finite.
                        let x = sums[i * width + j] / f32::cast_from(size as u32) * unscale;
                        states[place * d * d + (top + i) * d + left + j] =
                            min(max(x, f32::new(-LARGEST)), f32::new(LARGEST));
                    }
                }
            }
            tile += units;
        }
    }
}

/// A number of a key, scaled.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn key<F: Float>(
    k: &Tensor<F>,
    first: usize,
    of_token: usize,
    of_dim: usize,
    scale: f32,
    keys: &Shared<[f32]>,
    token: usize,
    dim: usize,
    #[comptime] d: usize,
    #[comptime] staged: bool,
) -> f32 {
    if comptime!(staged) {
        keys[token * (d + 1) + dim]
    } else {
        f32::cast_from(k[first + token * of_token + dim * of_dim]) * scale
    }
}

/// A power of two that scales a number to between 1 and 4, or 1 for numbers that cannot be scaled,
/// as on the host.
#[cube]
fn inverse_power_of_two(x: f32) -> f32 {
    let exponent = u32::reinterpret(x) >> 23;
    let mut scale = f32::new(1.0);
    if exponent > 0u32 && exponent < 255u32 {
        scale = f32::reinterpret((254u32 - min(exponent, 253u32)) << 23);
    }
    scale
}

/// The projection of each token on the axis of its group, up to the axis's length.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn project<F: Float>(
    k: &Tensor<F>,
    first: usize,
    of_token: usize,
    of_dim: usize,
    scale: f32,
    keys: &Shared<[f32]>,
    ids: &Shared<[u32]>,
    mean: &Shared<[f32]>,
    axis: &Shared<[f32]>,
    along: &mut Shared<[f32]>,
    unit: usize,
    units: usize,
    #[comptime] size: usize,
    #[comptime] d: usize,
    #[comptime] staged: bool,
) {
    let mut token = unit;
    while token < size {
        let group = ids[token] as usize;
        let mut sum = f32::new(0.0);
        let mut square = f32::new(0.0);
        for dim in 0..d {
            let x = key::<F>(
                k, first, of_token, of_dim, scale, keys, token, dim, d, staged,
            );
            let a = axis[group * d + dim];
            sum += (x - mean[group * d + dim]) * a;
            square += a * a;
        }
        if square > 0.0 {
            along[token] = sum / square.sqrt();
        } else {
            along[token] = 0.0;
        }
        token += units;
    }
}
