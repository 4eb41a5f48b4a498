//! The softmax of [`attend`](super::attend) on the matrix units of CUDA, for half precision.
//!
//! A plane takes 32 queries. Their products with 64 keys stay in its registers, as do the sums of
//! values: what a product gives is where the next one wants it, up to rounding to half precision.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::cmma::MmaDefinition;
use burn_cubecl::cubecl::ir::features::MmaConfig;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use super::attend::{Alike, HIDDEN, PLAN, plan};
use crate::cube::{elements, is_cuda, room};

/// Units of a plane.
const PLANE: usize = 32;

/// Planes of a block.
const PLANES: usize = 4;

/// Units of a block.
const UNITS: usize = PLANES * PLANE;

/// Rows that a matrix unit multiplies, [`WIDE`] columns of [`DEEP`] numbers each.
const HIGH: usize = 16;
const WIDE: usize = 8;
const DEEP: usize = 16;

/// Times [`HIGH`], the queries of a plane.
const TWICE: usize = 2;

/// Queries of a block.
const QUERIES: usize = PLANES * TWICE * HIGH;

/// Keys that are weighed together.
const KEYS: usize = 64;

/// Numbers that are read together.
const LINE: usize = 4;

/// Pairs between rows of keys beyond their own, so that what is read at once is in different banks.
const KEY_PAD: usize = 4;

/// The same of rows of values, of two tokens each.
const VALUE_PAD: usize = 8;

/// The widest head whose queries and sums of values fit into registers.
const WIDEST: usize = 64;

/// Two numbers in one register.
type Pair<F> = Vector<F, Const<2>>;

/// Registers of a matrix.
type Registers<F> = Array<Pair<F>>;

/// Bytes of shared memory that a block takes.
fn shared_bytes(d: usize) -> usize {
    4 * KEYS * (d / 2 + KEY_PAD) + 4 * KEYS / 2 * (d + VALUE_PAD) + 4 * KEYS
}

/// Whether a device has the matrix units that the kernel is written for.
pub(crate) fn fits(device: &CubeDevice, dtype: DType, d: usize) -> bool {
    let client = device.client();
    let (properties, element) = (client.properties(), elements(dtype));
    let (hardware, single) = (&properties.hardware, ElemType::Float(FloatKind::F32));
    let needed = MmaConfig {
        a_type: element,
        b_type: element,
        cd_type: single,
        m: HIGH as u32,
        n: WIDE as u32,
        k: DEEP as u32,
    };
    // Others lay out registers in other ways, if they have such units.
    is_cuda(device)
        && dtype != DType::F32
        && properties.features.matmul.mma.contains(&needed)
        && d <= WIDEST
        && d.is_multiple_of(DEEP)
        && hardware.plane_size_min == PLANE as u32
        && shared_bytes(d) <= hardware.max_shared_memory_size
}

/// The same tensor, or a copy whose rows can be read by lines.
fn by_lines(x: CubeTensor) -> CubeTensor {
    let strides = x.meta.strides();
    let aligned = strides[..3]
        .iter()
        .all(|stride| stride.is_multiple_of(LINE));
    match strides[3] == 1 && aligned {
        true => x,
        false => into_contiguous(x),
    }
}

/// As [`attend`](super::attend::attend).
pub(super) fn attend(
    [q, k, v]: [CubeTensor; 3],
    alike: Option<Alike>,
    settings: &BlockAttention,
    scale: f32,
) -> (CubeTensor, CubeTensor) {
    let [k, v] = [k, v].map(by_lines);
    let shape = q.shape();
    let [b, h, n, d] = [shape[0], shape[1], shape[2], shape[3]];
    let out = room(&q, [b, n, h, d], q.dtype);
    let lse = room(&q, [b, h, n], DType::F32);
    let nothing = || room(&q, [d], DType::F32);
    let clusters = alike.as_ref().map_or(0, |_| settings.clusters);
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
        CubeDim::new_1d(UNITS as u32),
        LINE,
        q.clone().into_tensor_arg(),
        k.into_tensor_arg(),
        v.into_tensor_arg(),
        keys.into_tensor_arg(),
        values.into_tensor_arg(),
        bias.into_tensor_arg(),
        states.into_tensor_arg(),
        plan.into_buffer_arg(),
        out.clone().into_tensor_arg(),
        lse.clone().into_tensor_arg(),
        scale,
        n as u32,
        settings.sinks as u32,
        settings.far_chunks(n) as u32,
        clusters as u32,
        d,
        with_state,
        elements(q.dtype),
    );
    (out, lse)
}

#[cube(launch, fast_math = FastMath::all())]
#[allow(clippy::too_many_arguments)] // what a kernel is given
#[allow(clippy::collapsible_if)] // the outer one is decided when a kernel is compiled
fn attend_kernel<F: Float, N: Size>(
    q: &Tensor<F>,
    k: &Tensor<Vector<F, N>>,
    v: &Tensor<Vector<F, N>>,
    keys: &Tensor<Vector<f32, N>>,
    values: &Tensor<Vector<f32, N>>,
    bias: &Tensor<f32>,
    states: &Tensor<Vector<f32, N>>,
    plan: &[u32],
    out: &mut Tensor<F>,
    lse: &mut Tensor<f32>,
    scale: f32,
    tokens: u32,
    sinks: u32,
    far_chunks: u32,
    clusters: u32,
    #[comptime] d: usize,
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
    let window = end - near;
    let exact = window + sinks;
    let total = exact + far * clusters;
    let far_chunks = far_chunks as usize;
    let first_cluster = place * far_chunks * clusters;

    let deep = comptime!(d / DEEP);
    let wide = comptime!(d / WIDE);
    let lines = comptime!(d / LINE);
    let key_row = comptime!(d / 2 + KEY_PAD);
    let value_row = comptime!(d + VALUE_PAD);
    let mut tile_keys = Shared::<[Pair<F>]>::new_slice(KEYS * key_row);
    let mut tile_values = Shared::<[Pair<F>]>::new_slice(KEYS / 2 * value_row);
    let mut tile_bias = Shared::<[f32]>::new_slice(KEYS);

    // A unit has parts of the rows `group` and `group + 8` of each matrix, and of the columns
    // 2 · quad and the next.
    let lane = unit % PLANE;
    let (group, quad) = (lane / 4, lane % 4);
    let first_row = first + unit / PLANE * comptime!(TWICE * HIGH) + group;
    let def = MmaDefinition::<F, F, f32>::new(HIGH, WIDE, DEEP);

    // Rows without a query compute what the last one does, and keep it to themselves.
    let q_head = row * q.stride(0) + head * q.stride(1);
    let mut queries = Sequence::<Registers<F>>::new();
    let mut sums = Sequence::<Registers<f32>>::new();
    #[unroll]
    for high in 0..TWICE {
        #[unroll]
        for i in 0..deep {
            let mut part = Registers::<F>::new(4usize);
            #[unroll]
            for at in 0..4usize {
                let below = comptime!(at % 2 * 8 + high * HIGH);
                let query = min(first_row + below, end - 1);
                let dim = comptime!(i * DEEP + at / 2 * 8) + 2 * quad;
                let from = q_head + query * q.stride(2) + dim * q.stride(3);
                let mut pair = Pair::<F>::new(F::new(0.0));
                pair.insert(0usize, q[from]);
                pair.insert(1usize, q[from + q.stride(3)]);
                part[at] = pair;
            }
            queries.push(part);
        }
        #[unroll]
        for _ in 0..wide {
            let mut sum = Registers::<f32>::new(2usize);
            sum[0] = Pair::<f32>::new(0.0f32);
            sum[1] = Pair::<f32>::new(0.0f32);
            sums.push(sum);
        }
    }
    // Of each row: its highest score, and the sums of all weights and of those of clusters.
    let mut most = Array::<f32>::new(comptime!(2 * TWICE));
    let mut norm = Array::<f32>::new(comptime!(2 * TWICE));
    let mut mass = Array::<f32>::new(comptime!(2 * TWICE));
    #[unroll]
    for at in 0..comptime!(2 * TWICE) {
        most[at] = f32::new(HIDDEN);
        norm[at] = f32::new(0.0);
        mass[at] = f32::new(0.0);
    }

    let mut start = 0usize;
    while start < total {
        let own_keys = load_lines::<F, N>(
            k,
            keys,
            row,
            head,
            start,
            near,
            window,
            exact,
            first_cluster,
            total,
            1usize,
            0usize,
            d,
        );
        let low_values = load_lines::<F, N>(
            v,
            values,
            row,
            head,
            start,
            near,
            window,
            exact,
            first_cluster,
            total,
            2usize,
            0usize,
            d,
        );
        let high_values = load_lines::<F, N>(
            v,
            values,
            row,
            head,
            start,
            near,
            window,
            exact,
            first_cluster,
            total,
            2usize,
            1usize,
            d,
        );
        // Nobody reads the last tile any more.
        sync_cube();
        #[unroll]
        for i in 0..comptime!(KEYS * d / LINE / UNITS) {
            let item = unit + i * UNITS;
            let (own, line) = (item / lines, item % lines);
            let numbers = own_keys[i];
            let mut low = Pair::<F>::new(F::new(0.0));
            let mut high = Pair::<F>::new(F::new(0.0));
            low.insert(0usize, numbers.extract(0usize));
            low.insert(1usize, numbers.extract(1usize));
            high.insert(0usize, numbers.extract(2usize));
            high.insert(1usize, numbers.extract(3usize));
            tile_keys[own * key_row + 2 * line] = low;
            tile_keys[own * key_row + 2 * line + 1] = high;
        }
        #[unroll]
        for i in 0..comptime!(KEYS / 2 * d / LINE / UNITS) {
            let item = unit + i * UNITS;
            let (own, line) = (item / lines, item % lines);
            let (low, high) = (low_values[i], high_values[i]);
            #[unroll]
            for at in 0..LINE {
                let mut pair = Pair::<F>::new(F::new(0.0));
                pair.insert(0usize, low.extract(at));
                pair.insert(1usize, high.extract(at));
                tile_values[own * value_row + LINE * line + at] = pair;
            }
        }
        if unit < KEYS {
            let key = start + unit;
            let mut of_key = f32::new(0.0);
            if key >= total {
                of_key = f32::new(HIDDEN);
            } else if key >= exact {
                of_key = bias[first_cluster + key - exact];
            }
            tile_bias[unit] = of_key;
        }
        sync_cube();

        // Scores, 32 rows of 64 keys.
        let mut scores = Sequence::<Registers<f32>>::new();
        #[unroll]
        for _ in 0..comptime!(TWICE * KEYS / WIDE) {
            let mut score = Registers::<f32>::new(2usize);
            score[0] = Pair::<f32>::new(0.0f32);
            score[1] = Pair::<f32>::new(0.0f32);
            scores.push(score);
        }
        #[unroll]
        for column in 0..comptime!(KEYS / WIDE) {
            #[unroll]
            for i in 0..deep {
                let from = (column * WIDE + group) * key_row + comptime!(i * DEEP / 2) + quad;
                let mut part = Registers::<F>::new(2usize);
                part[0] = tile_keys[from];
                part[1] = tile_keys[from + 4];
                #[unroll]
                for high in 0..TWICE {
                    let score = scores.index_mut(comptime!(high * KEYS / WIDE + column));
                    let query = queries.index(comptime!(high * deep + i));
                    def.execute_inplace(query, &part, score);
                }
            }
        }

        // Weights, in the place of scores.
        let reaches_clusters = start + KEYS > exact;
        let has_window = start < window;
        #[unroll]
        for high in 0..TWICE {
            #[unroll]
            for half in 0..2usize {
                let at = comptime!(2 * high + half);
                let query = first_row + comptime!(high * HIGH + half * 8);
                let mut highest = most[at];
                #[unroll]
                for column in 0..comptime!(KEYS / WIDE) {
                    let score = scores.index_mut(comptime!(high * KEYS / WIDE + column));
                    let mut pair = score[half];
                    #[unroll]
                    for one in 0..2usize {
                        let place = column * WIDE + 2 * quad + one;
                        let mut x = pair.extract(one) * scale + tile_bias[place];
                        if has_window {
                            let key = start + place;
                            if key < window && near + key > query {
                                x = f32::new(HIDDEN);
                            }
                        }
                        highest = max(highest, x);
                        pair.insert(one, x);
                    }
                    score[half] = pair;
                }
                highest = max(highest, plane_shuffle_xor(highest, 1u32));
                highest = max(highest, plane_shuffle_xor(highest, 2u32));
                let kept = (most[at] - highest).exp();
                most[at] = highest;
                let mut all = f32::new(0.0);
                let mut of_clusters = f32::new(0.0);
                #[unroll]
                for column in 0..comptime!(KEYS / WIDE) {
                    let score = scores.index_mut(comptime!(high * KEYS / WIDE + column));
                    let mut pair = score[half];
                    #[unroll]
                    for one in 0..2usize {
                        let weight = (pair.extract(one) - highest).exp();
                        all += weight;
                        if reaches_clusters {
                            if start + column * WIDE + 2 * quad + one >= exact {
                                of_clusters += weight;
                            }
                        }
                        pair.insert(one, weight);
                    }
                    score[half] = pair;
                }
                norm[at] = norm[at] * kept + all;
                mass[at] = mass[at] * kept + of_clusters;
                #[unroll]
                for i in 0..wide {
                    let sum = sums.index_mut(comptime!(high * wide + i));
                    sum[half] = sum[half] * Pair::<f32>::new(kept);
                }
            }
        }

        // Sums of values.
        #[unroll]
        for step in 0..comptime!(KEYS / DEEP) {
            let mut weights = Sequence::<Registers<F>>::new();
            #[unroll]
            for high in 0..TWICE {
                let mut part = Registers::<F>::new(4usize);
                #[unroll]
                for at in 0..4usize {
                    let score = scores.index(comptime!(high * KEYS / WIDE + 2 * step + at / 2));
                    part[at] = Pair::<F>::cast_from(score[comptime!(at % 2)]);
                }
                weights.push(part);
            }
            #[unroll]
            for i in 0..wide {
                let from = (comptime!(step * DEEP / 2) + quad) * value_row + i * WIDE + group;
                let mut part = Registers::<F>::new(2usize);
                part[0] = tile_values[from];
                part[1] = tile_values[from + 4 * value_row];
                #[unroll]
                for high in 0..TWICE {
                    let sum = sums.index_mut(comptime!(high * wide + i));
                    def.execute_inplace(weights.index(high), &part, sum);
                }
            }
        }
        start += KEYS;
    }

    #[unroll]
    for at in 0..comptime!(2 * TWICE) {
        norm[at] += plane_shuffle_xor(norm[at], 1u32);
        norm[at] += plane_shuffle_xor(norm[at], 2u32);
        mass[at] += plane_shuffle_xor(mass[at], 1u32);
        mass[at] += plane_shuffle_xor(mass[at], 2u32);
    }

    if comptime!(with_state) {
        if far > 0 {
            // The state's rows are like values, with weights M · scale · q.
            let state = (place * far_chunks + far - 1) * comptime!(d * d / LINE);
            sync_cube();
            let mut item = unit;
            while item < comptime!(d / 2 * d / LINE) {
                let (own, line) = (item / lines, item % lines);
                let low = states[state + 2 * own * lines + line];
                let high = states[state + (2 * own + 1) * lines + line];
                #[unroll]
                for at in 0..LINE {
                    let mut pair = Pair::<F>::new(F::new(0.0));
                    pair.insert(0usize, F::cast_from(low.extract(at)));
                    pair.insert(1usize, F::cast_from(high.extract(at)));
                    tile_values[own * value_row + LINE * line + at] = pair;
                }
                item += UNITS;
            }
            sync_cube();
            #[unroll]
            for i in 0..wide {
                let mut products = Sequence::<Registers<f32>>::new();
                #[unroll]
                for _ in 0..TWICE {
                    let mut product = Registers::<f32>::new(2usize);
                    product[0] = Pair::<f32>::new(0.0f32);
                    product[1] = Pair::<f32>::new(0.0f32);
                    products.push(product);
                }
                #[unroll]
                for step in 0..deep {
                    let from = (comptime!(step * DEEP / 2) + quad) * value_row + i * WIDE + group;
                    let mut part = Registers::<F>::new(2usize);
                    part[0] = tile_values[from];
                    part[1] = tile_values[from + 4 * value_row];
                    #[unroll]
                    for high in 0..TWICE {
                        let query = queries.index(comptime!(high * deep + step));
                        def.execute_inplace(query, &part, products.index_mut(high));
                    }
                }
                #[unroll]
                for high in 0..TWICE {
                    let sum = sums.index_mut(comptime!(high * wide + i));
                    let product = products.index(high);
                    #[unroll]
                    for half in 0..2usize {
                        let weight = mass[comptime!(2 * high + half)] * scale;
                        sum[half] = sum[half] + product[half] * Pair::<f32>::new(weight);
                    }
                }
            }
        }
    }

    #[unroll]
    for high in 0..TWICE {
        #[unroll]
        for half in 0..2usize {
            let at = comptime!(2 * high + half);
            let query = first_row + comptime!(high * HIGH + half * 8);
            if query < end {
                let share = 1.0f32 / norm[at];
                let out_row = ((row * tokens + query) * heads + head) * d + 2 * quad;
                #[unroll]
                for i in 0..wide {
                    let sum = sums.index(comptime!(high * wide + i));
                    let pair = sum[half];
                    out[out_row + i * WIDE] = F::cast_from(pair.extract(0usize) * share);
                    out[out_row + i * WIDE + 1] = F::cast_from(pair.extract(1usize) * share);
                }
                if quad == 0 {
                    lse[place * tokens + query] = most[at] + norm[at].ln();
                }
            }
        }
    }
}

/// A unit's lines of a tile of keys or values: of every `step`-th row from `from` on. They are of the
/// window, of sinks, of clusters, or zeros; where a tile has one kind alone, as most have, nothing
/// keeps its reads from being on their way at once.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
fn load_lines<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    of_clusters: &Tensor<Vector<f32, N>>,
    row: usize,
    head: usize,
    start: usize,
    near: usize,
    window: usize,
    exact: usize,
    first_cluster: usize,
    total: usize,
    #[comptime] step: usize,
    #[comptime] from: usize,
    #[comptime] d: usize,
) -> Array<Vector<F, N>> {
    let unit = UNIT_POS_X as usize;
    let lines = comptime!(d / LINE);
    let count = comptime!(KEYS / step * d / LINE / UNITS);
    let x_head = row * x.stride(0) + head * x.stride(1);
    let of_token = x.stride(2);
    let mut all = Array::<Vector<F, N>>::new(count);
    if start + KEYS <= window {
        #[unroll]
        for i in 0..count {
            let item = unit + i * UNITS;
            let key = start + item / lines * step + from;
            all[i] = x[(x_head + (near + key) * of_token) / LINE + item % lines];
        }
    } else if start >= exact && start + KEYS <= total {
        #[unroll]
        for i in 0..count {
            let item = unit + i * UNITS;
            let key = start + item / lines * step + from;
            let cluster = (first_cluster + key - exact) * lines;
            all[i] = Vector::<F, N>::cast_from(of_clusters[cluster + item % lines]);
        }
    } else {
        #[unroll]
        for i in 0..count {
            let item = unit + i * UNITS;
            let (key, line) = (start + item / lines * step + from, item % lines);
            // What is read in vain is read where there is something.
            let mut token = near + key;
            if key >= window {
                token = min(key - window, near);
            }
            let exactly = x[(x_head + token * of_token) / LINE + line];
            let mut cluster = 0usize;
            if key >= exact && key < total {
                cluster = first_cluster + key - exact;
            }
            let summarised = Vector::<F, N>::cast_from(of_clusters[cluster * lines + line]);
            let mut numbers = Vector::<F, N>::cast_from(0.0f32);
            if key < exact {
                numbers = exactly;
            } else if key < total {
                numbers = summarised;
            }
            all[i] = numbers;
        }
    }
    all
}
