//! Clusters and states of far chunks, a cube of units for each chunk.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use super::{elements, room};
use crate::clusters::split::POWER_ITERATIONS;

/// Units that summarise a chunk together.
const UNITS: usize = 128;

/// ln m of a cluster without tokens: finite, since WGSL has no infinity.
const EMPTY: f32 = -1e30;

/// What is kept of the far chunks, in `f32`.
pub(super) struct Summary {
    /// Mean keys of the clusters. `[B, H, F·G, D]`
    pub(super) keys: CubeTensor,
    /// Mean values of the clusters. `[B, H, F·G, D]`
    pub(super) values: CubeTensor,
    /// ln m. `[B, H, F·G]`
    pub(super) bias: CubeTensor,
    /// Mean key of each chunk. `[B, H, F, D]`
    pub(super) means: CubeTensor,
    /// (1/S) Σ (k − k̄) vᵀ, if asked for. `[B, H, F, D, D]`
    pub(super) states: Option<CubeTensor>,
}

/// Bytes of shared memory that a chunk takes.
pub(super) fn shared_bytes(settings: &BlockAttention, d: usize) -> usize {
    let groups = (settings.clusters / 2).max(1);
    4 * (2 * settings.chunk_size + (2 * groups + settings.clusters) * d + groups)
}

/// Summarises the first `far` chunks of keys and values `[B, H, N, D]`.
pub(super) fn summarise(
    [k, v]: [&CubeTensor; 2],
    settings: &BlockAttention,
    far: usize,
    with_state: bool,
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
        states: with_state.then(|| f32s(&[b, h, far, d, d])),
    };
    let states = summary.states.clone();
    let states = states.unwrap_or_else(|| f32s(&[1]));
    let most = k.client.properties().hardware.max_cube_dim.0;
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
        settings.sinks as u32,
        settings.chunk_size,
        settings.clusters,
        d,
        with_state,
        elements(k.dtype),
    );
    summary
}

/// Splits a chunk as [`split_into_clusters`](crate::split_into_clusters) does, all groups
/// of a level at once, and takes the means of what comes out.
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
    sinks: u32,
    #[comptime] size: usize,
    #[comptime] clusters: usize,
    #[comptime] d: usize,
    #[comptime] with_state: bool,
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
    let mut norm = Shared::<[f32]>::new_slice(most_groups);
    let mut kept = Shared::<[f32]>::new_slice(clusters * d);

    let mut token = unit;
    while token < size {
        ids[token] = 0u32;
        token += units;
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
                    sum += f32::cast_from(k[k_first + token * k_token + dim * k_dim]);
                    count += 1.0;
                }
            }
            mean[item] = sum / max(count, f32::new(1.0));
            item += units;
        }
        sync_cube();
        // Square of how far each token is from it.
        let mut token = unit;
        while token < size {
            let group = ids[token] as usize;
            let mut square = f32::new(0.0);
            for dim in 0..d {
                let x = f32::cast_from(k[k_first + token * k_token + dim * k_dim]);
                let x = x - mean[group * d + dim];
                square += x * x;
            }
            along[token] = square;
            token += units;
        }
        sync_cube();
        // The axis begins as the way to the farthest token, the first of equals.
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
            let x = f32::cast_from(k[k_first + farthest * k_token + dim * k_dim]);
            axis[item] = x - mean[item];
            if dim == 0 {
                norm[group] = distance;
            }
            item += units;
        }
        sync_cube();
        for _ in 0..POWER_ITERATIONS {
            project::<F>(
                k, k_first, k_token, k_dim, &ids, &mean, &axis, &norm, &mut along, unit, units,
                size, d,
            );
            sync_cube();
            // a ← Σ_j x_j (x_j·a)
            let mut item = unit;
            while item < groups * d {
                let (group, dim) = (item / d, item % d);
                let mut sum = f32::new(0.0);
                for token in 0..size {
                    if ids[token] as usize == group {
                        let x = f32::cast_from(k[k_first + token * k_token + dim * k_dim]);
                        sum += along[token] * (x - mean[item]);
                    }
                }
                axis[item] = sum;
                item += units;
            }
            sync_cube();
            let mut group = unit;
            while group < groups {
                let mut square = f32::new(0.0);
                for dim in 0..d {
                    square += axis[group * d + dim] * axis[group * d + dim];
                }
                norm[group] = square;
                group += units;
            }
            sync_cube();
        }
        project::<F>(
            k, k_first, k_token, k_dim, &ids, &mean, &axis, &norm, &mut along, unit, units, size, d,
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
        let mut keys = f32::new(0.0);
        let mut values = f32::new(0.0);
        let mut count = f32::new(0.0);
        for token in 0..size {
            if ids[token] as usize == cluster {
                keys += f32::cast_from(k[k_first + token * k_token + dim * k_dim]);
                values += f32::cast_from(v[v_first + token * v_token + dim * v_dim]);
                count += 1.0;
            }
        }
        let share = f32::new(1.0) / max(count, f32::new(1.0));
        kept[item] = keys * share;
        mean_keys[place * clusters * d + item] = keys * share;
        mean_values[place * clusters * d + item] = values * share;
        if dim == 0 {
            let mut log = f32::new(EMPTY);
            if count > 0.0 {
                log = count.ln();
            }
            bias[place * clusters + cluster] = log;
        }
        item += units;
    }
    // Mean of the chunk.
    let mut dim = unit;
    while dim < d {
        let mut keys = f32::new(0.0);
        for token in 0..size {
            keys += f32::cast_from(k[k_first + token * k_token + dim * k_dim]);
        }
        means[place * d + dim] = keys / f32::cast_from(size as u32);
        dim += units;
    }
    if comptime!(with_state) {
        sync_cube();
        let mut item = unit;
        while item < d * d {
            let (i, j) = (item / d, item % d);
            let mut sum = f32::new(0.0);
            for token in 0..size {
                let x = f32::cast_from(k[k_first + token * k_token + i * k_dim]);
                let y = f32::cast_from(v[v_first + token * v_token + j * v_dim]);
                sum += (x - kept[ids[token] as usize * d + i]) * y;
            }
            states[place * d * d + item] = sum / f32::cast_from(size as u32);
            item += units;
        }
    }
}

/// How far each token is along the axis of its group, whose square is `norm`.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn project<F: Float>(
    k: &Tensor<F>,
    first: usize,
    of_token: usize,
    of_dim: usize,
    ids: &Shared<[u32]>,
    mean: &Shared<[f32]>,
    axis: &Shared<[f32]>,
    norm: &Shared<[f32]>,
    along: &mut Shared<[f32]>,
    unit: usize,
    units: usize,
    #[comptime] size: usize,
    #[comptime] d: usize,
) {
    let mut token = unit;
    while token < size {
        let group = ids[token] as usize;
        let mut sum = f32::new(0.0);
        for dim in 0..d {
            let x = f32::cast_from(k[first + token * of_token + dim * of_dim]);
            sum += (x - mean[group * d + dim]) * axis[group * d + dim];
        }
        let square = norm[group];
        if square > 0.0 {
            along[token] = sum / square.sqrt();
        } else {
            along[token] = 0.0;
        }
        token += units;
    }
}
