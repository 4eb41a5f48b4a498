//! The softmax of [`attend`](super::attend) on the matrix units of CUDA, for half precision.
//!
//! A plane computes 32 queries. Their products with 64 keys and the sums of values stay in its
//! registers: the result of one product has the layout that the next one needs, after rounding to
//! half precision.

mod rows;
mod tile;

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::ir::features::MmaConfig;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::super::BlockAttention;
use super::attend::{Alike, PLAN, plan};
use super::listed::Seen;
use crate::cube::{elements, is_cuda, room};
use rows::{Weighed, add_states, add_values, multiply, take_queries, weigh, write, zeros};
use tile::{Tile, load_lines};

/// Units of a plane.
const PLANE: usize = 32;

/// Planes of a block.
const PLANES: usize = 4;

/// Units of a block.
const UNITS: usize = PLANES * PLANE;

/// Rows that a matrix unit multiplies, with [`WIDE`] columns of [`DEEP`] numbers each.
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

/// Padding between rows of keys, in pairs, so that simultaneous reads use different banks.
const KEY_PAD: usize = 4;

/// The same for rows of values, of two tokens each.
const VALUE_PAD: usize = 8;

/// The largest head dimension for which queries and sums of values fit into registers.
const WIDEST: usize = 64;

/// Two numbers in one register.
type Pair<F> = Vector<F, Const<2>>;

/// Registers of a matrix.
type Registers<F> = Array<Pair<F>>;

/// Shared memory of a block, in bytes.
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
    // Other devices have different register layouts, if they have such units.
    is_cuda(device)
        && dtype != DType::F32
        && properties.features.matmul.mma.contains(&needed)
        && d <= WIDEST
        && d.is_multiple_of(DEEP)
        && hardware.plane_size_min == PLANE as u32
        && shared_bytes(d) <= hardware.max_shared_memory_size
}

/// The same tensor, or a copy with rows that can be read by lines.
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

/// Same as [`attend`](super::attend::attend).
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
        settings.grid.sinks as u32,
        settings.grid.far_chunks(n) as u32,
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
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let place = row * CUBE_COUNT_Y as usize + head;
    let block = CUBE_POS_X as usize * PLAN;
    let first = plan[block] as usize;
    let end = plan[block + 1] as usize;
    let near = plan[block + 2] as usize;
    let far = plan[block + 3] as usize;
    let mut sinks = sinks as usize;
    if far == 0 {
        sinks = 0;
    }
    let far_chunks = far_chunks as usize;
    let clusters = clusters as usize;
    let window = end - near;
    let exact = window + sinks;
    let seen = Seen {
        near,
        window,
        exact,
        total: exact + far * clusters,
        first_cluster: place * far_chunks * clusters,
    };

    let mut tile = Tile::<F>::new(d);
    let queries = take_queries::<F>(q, first, end, d);
    let mut sums = zeros(comptime!(TWICE * d / WIDE));
    let mut weighed = Weighed::new();
    let mut start = 0usize;
    while start < seen.total {
        let own_keys = load_lines::<F, N>(k, keys, &seen, start, 1usize, 0usize, d);
        let low_values = load_lines::<F, N>(v, values, &seen, start, 2usize, 0usize, d);
        let high_values = load_lines::<F, N>(v, values, &seen, start, 2usize, 1usize, d);
        // The last tile is no longer read.
        sync_cube();
        tile.store_keys::<N>(&own_keys, d);
        tile.store_values::<N>(&low_values, &high_values, d);
        tile.store_bias(bias, &seen, start);
        sync_cube();
        let mut scores = multiply::<F>(&queries, &tile, d);
        weigh(
            &mut scores,
            &mut sums,
            &mut weighed,
            &tile.bias,
            &seen,
            start,
            first,
            scale,
            d,
        );
        add_values::<F>(&scores, &tile, &mut sums, d);
        start += KEYS;
    }
    weighed.of_all_columns();

    if comptime!(with_state) {
        if far > 0 {
            // The state's rows act as values, with weights M · scale · q.
            sync_cube();
            tile.store_state::<N>(states, place * far_chunks + far - 1, d);
            sync_cube();
            add_states::<F>(&queries, &tile, &weighed, &mut sums, scale, d);
        }
    }
    write::<F>(&sums, &weighed, out, lse, first, end, tokens as usize, d);
}
