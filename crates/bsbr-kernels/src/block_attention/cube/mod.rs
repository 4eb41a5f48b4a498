//! Both passes on devices with CubeCL kernels: Vulkan, Metal, CUDA.
//!
//! The forward pass has two kernels, with Burn's matrix products between them. The first splits and
//! summarises each far chunk on the device, so nothing is copied to the host. Then the states are
//! mixed, and the second kernel computes one softmax per block of queries. With lookups, another
//! kernel chooses each query's clusters, and with few bits, another rounds what is looked up. For
//! the backward pass, see [`backward`]. Heads of different levels run in separate passes.

mod attend;
mod backward;
mod choose;
mod levels;
mod listed;
mod lookup;
mod order;
mod rounding;
mod route;
mod summary;
mod units;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{BlockAttention, BlockAttentionOps, BlockStatesPrimitive, KvBits, portable};
use crate::cube::{computes_in, primitive, tensor};
use crate::grid::Grid;
use attend::Alike;
use backward::Gradients;
use lookup::LookedUp;
use rounding::rounded;

/// The largest head dimension for which a unit can keep query and output in registers.
const WIDEST: usize = 128;

impl BlockAttentionOps for Cube {
    fn block_attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let pass = |[q, k, v]: [FloatTensor<Self>; 3], states, settings: &BlockAttention| {
            let (inputs, settings) = fused([&q, &k, &v], settings)?;
            forward(inputs, states, &settings, scale)
        };
        let inputs = [q.clone(), k.clone(), v.clone()];
        if fuses_all(&q, &settings)
            && let Some(done) = levels::forward(inputs, states.clone(), &settings, pass)
        {
            return done;
        }
        portable::forward::<Self>([q, k, v], states, settings, scale)
    }

    fn block_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        states: BlockStatesPrimitive<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> Gradients {
        let pass = |[q, k, v]: [FloatTensor<Self>; 3],
                    states,
                    [out, lse, grad]: [FloatTensor<Self>; 3],
                    settings: &BlockAttention| {
            let (inputs, settings) = fused([&q, &k, &v], settings)?;
            let passed = passed([&out, &lse, &grad])?;
            backward::backward(inputs, states, passed, &settings, scale)
        };
        let inputs = [q.clone(), k.clone(), v.clone()];
        let given = [out, lse, grad.clone()];
        if fuses_all(&q, &settings)
            && let Some(done) = levels::backward(inputs, states.clone(), given, &settings, pass)
        {
            return done;
        }
        portable::backward::<Self>([q, k, v], states, grad, settings, scale)
    }
}

/// Whether both passes are kernels for all heads of queries.
fn fuses_all(q: &FloatTensor<Cube>, settings: &BlockAttention) -> bool {
    let size = q.shape();
    let [h, n, d] = [size[1], size[2], size[3]];
    primitive(q)
        .is_some_and(|q| size.num_elements() > 0 && fuses(&q.device, q.dtype, [h, n, d], settings))
}

/// q, k, v and the settings for the kernels, if both passes are kernels.
fn fused(
    inputs: [&FloatTensor<Cube>; 3],
    settings: &BlockAttention,
) -> Option<([CubeTensor; 3], BlockAttention)> {
    let [q, k, v] = inputs.map(primitive);
    let (q, k, v) = (q?, k?, v?);
    let size = q.shape();
    let fits = size.num_elements() > 0
        && size == k.shape()
        && [&k, &v].into_iter().all(|x| x.dtype == q.dtype)
        && fuses(&q.device, q.dtype, [size[1], size[2], size[3]], settings);
    fits.then(|| ([q, k, v], simplest(settings, size[2])))
}

/// Output, log-sum-exp and gradient of a pass by kernels.
fn passed([out, lse, grad]: [&FloatTensor<Cube>; 3]) -> Option<[CubeTensor; 3]> {
    let (out, lse, grad) = (primitive(out)?, primitive(lse)?, primitive(grad)?);
    let fits = lse.dtype == DType::F32 && grad.dtype == out.dtype;
    fits.then(|| [out, into_contiguous(lse), grad])
}

/// Whether a device has kernels for `n` tokens and `h` heads of `d` dimensions, in all their
/// levels.
pub(super) fn fuses(
    device: &CubeDevice,
    dtype: DType,
    [h, n, d]: [usize; 3],
    settings: &BlockAttention,
) -> bool {
    let most = shared_bytes(device);
    let mut runs = settings.levels.runs(h).into_iter();
    attends(device, dtype, d)
        && settings.spans.of(settings.grid.far_chunks(n)) == 0
        && runs.all(|(first, _)| {
            let settings = &simplest(&settings.of_head(first), n);
            (settings.clusters == 0 || summary::shared_bytes(settings, d) <= most)
                && (settings.exact_clusters == 0 || looks_up(d, settings, most))
        })
}

/// Whether kernels support this number of lookups, if a block has `most` bytes of shared memory.
fn looks_up(d: usize, settings: &BlockAttention, most: usize) -> bool {
    let bytes = choose::shared_bytes(d).max(backward::shared_bytes_of_lookups(d));
    settings.exact_clusters <= choose::MOST && bytes <= most
}

/// Equivalent settings for `tokens` tokens, with at most as many lookups as clusters. A query that
/// looks up every cluster sees every token, and needs no clusters if no token is rounded.
fn simplest(settings: &BlockAttention, tokens: usize) -> BlockAttention {
    let clusters = settings.grid.far_chunks(tokens) * settings.clusters;
    match settings.exact_clusters {
        0 => *settings,
        best if best < clusters => *settings,
        _ if settings.kv_bits == KvBits::ThirtyTwo => one_chunk(tokens),
        _ => BlockAttention {
            exact_clusters: clusters,
            ..*settings
        },
    }
}

/// Whether a device supports the attention kernels.
fn attends(device: &CubeDevice, dtype: DType, d: usize) -> bool {
    (1..=WIDEST).contains(&d)
        && computes_in(dtype)
        && attend::shared_bytes(d).max(backward::shared_bytes(d)) <= shared_bytes(device)
}

fn shared_bytes(device: &CubeDevice) -> usize {
    device.client().properties().hardware.max_shared_memory_size
}

/// Causal attention as block attention: one chunk of all tokens.
fn one_chunk(tokens: usize) -> BlockAttention {
    BlockAttention {
        grid: Grid {
            chunk_size: tokens.max(1),
            ..Grid::DENSE
        },
        ..BlockAttention::default()
    }
}

/// Causal attention to all tokens: output `[B, H, N, D]` and log-sum-exp `[B, H, N]`.
pub(crate) fn causal(
    inputs: [&FloatTensor<Cube>; 3],
    scale: f64,
) -> Option<(FloatTensor<Cube>, FloatTensor<Cube>)> {
    let (inputs, settings) = fused(inputs, &one_chunk(inputs[0].shape()[2]))?;
    forward(inputs, BlockStatesPrimitive::Off, &settings, scale)
}

/// Gradients of q, k and v from the inputs and outputs of [`causal`], and the gradient of its
/// output.
pub(crate) fn causal_backward(
    inputs: [&FloatTensor<Cube>; 3],
    given: [&FloatTensor<Cube>; 3],
    scale: f64,
) -> Option<(FloatTensor<Cube>, FloatTensor<Cube>, FloatTensor<Cube>)> {
    let (inputs, settings) = fused(inputs, &one_chunk(inputs[0].shape()[2]))?;
    let given = passed(given)?;
    let states = BlockStatesPrimitive::Off;
    let (q, k, v, _) = backward::backward(inputs, states, given, &settings, scale)?;
    Some((q, k, v))
}

/// The far chunks of a sequence, in `f32`.
struct Far {
    alike: Alike,
    /// 1 if a token is in a cluster, if requested. `[B, H, F, G, S]`
    members: Option<CubeTensor>,
    states: Option<States>,
}

/// The states of chunks, and their mixtures.
struct States {
    /// `[B, H, F, D, D]`
    whole: FloatTensor<Cube>,
    /// The same as stored with bases. `[B, H, F, D, D]`
    kept: FloatTensor<Cube>,
    /// Mean key of each chunk. `[B, H, F, D]`
    means: CubeTensor,
    /// Unrounded mean keys of clusters, from which keys are subtracted. `[B, H, F·G, D]`
    centres: CubeTensor,
    /// The weights in each tail chunk's mixture. `[B, H, F, F]`
    weights: CubeTensor,
    /// The mixtures. `[B, H, F, D, D]`
    mixed: CubeTensor,
}

/// Summarises the far chunks, if there are any and the level sees them.
fn far_field(
    [q, k, v]: [&CubeTensor; 3],
    states: BlockStatesPrimitive<Cube>,
    settings: &BlockAttention,
    scale: f64,
    with_members: bool,
) -> Option<Option<Far>> {
    let shape = q.shape();
    let (far, d) = (settings.grid.far_chunks(shape[2]), shape[3]);
    if far == 0 || settings.clusters == 0 {
        return Some(None);
    }
    let wanted = summary::Wanted {
        states: !matches!(states, BlockStatesPrimitive::Off),
        members: with_members,
        order: settings.exact_clusters > 0,
    };
    let summary = summary::summarise([k, v], settings, far, wanted);
    let of_means = settings.kv_bits.of_means();
    let [keys, values] =
        [&summary.keys, &summary.values].map(|x| rounded(x, of_means).unwrap_or_else(|| x.clone()));
    let looked_up = summary.order.map(|order| {
        let chosen = choose::choose(q, [&keys, &summary.bias], settings, scale as f32);
        let kept = rounded(k, settings.kv_bits).zip(rounded(v, settings.kv_bits));
        LookedUp {
            chosen,
            order,
            kept: kept.map(|(k, v)| [k, v]),
        }
    });
    let states = match summary.states {
        None => None,
        Some(whole) => {
            let whole = tensor(whole)?;
            let kept = project(whole.clone(), states, d);
            let means = summary.means;
            let (weights, mixed) = route::mix(q, &means, kept.clone(), settings, scale as f32)?;
            Some(States {
                whole,
                kept,
                means,
                centres: summary.keys,
                weights,
                mixed,
            })
        }
    };
    Some(Some(Far {
        alike: Alike {
            keys,
            values,
            bias: summary.bias,
            states: states.as_ref().map(|states| states.mixed.clone()),
            looked_up,
        },
        members: summary.members,
        states,
    }))
}

fn forward(
    [q, k, v]: [CubeTensor; 3],
    states: BlockStatesPrimitive<Cube>,
    settings: &BlockAttention,
    scale: f64,
) -> Option<(FloatTensor<Cube>, FloatTensor<Cube>)> {
    let d = q.shape()[3];
    let far = far_field([&q, &k, &v], states, settings, scale, false)?;
    let alike = far.map(|far| far.alike);
    // The kernel for matrix units does not support lookups.
    let by_units = settings.exact_clusters == 0 && units::fits(&q.device, q.dtype, d);
    let attend = match by_units {
        true => units::attend,
        false => attend::attend,
    };
    let (out, lse) = attend([q, k, v], alike, settings, scale as f32);
    // Laid out as [B, N, H, D], which merging the heads expects.
    Some((Cube::float_swap_dims(tensor(out)?, 1, 2), tensor(lse)?))
}

/// U_k U_kᵀ F U_v U_vᵀ for states in bases, F for whole ones. `[B, H, F, D, D]`
fn project(
    whole: FloatTensor<Cube>,
    states: BlockStatesPrimitive<Cube>,
    d: usize,
) -> FloatTensor<Cube> {
    let BlockStatesPrimitive::Compressed { key, value } = states else {
        return whole;
    };
    let [left, right] = [key, value].map(|basis| projection(basis, d));
    Cube::float_matmul(Cube::float_matmul(left, whole), right)
}

/// U Uᵀ of a basis `[H, D, r]`. `[1, H, 1, D, D]`
fn projection(basis: FloatTensor<Cube>, d: usize) -> FloatTensor<Cube> {
    let basis = Cube::float_cast(basis, FloatDType::F32);
    let (h, r) = (basis.shape()[0], basis.shape()[2]);
    let basis = Cube::float_reshape(basis, Shape::from([1, h, 1, d, r]));
    Cube::float_matmul(basis.clone(), Cube::float_swap_dims(basis, 3, 4))
}
