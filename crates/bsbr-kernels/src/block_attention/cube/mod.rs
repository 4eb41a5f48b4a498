//! The forward pass on devices that CubeCL has kernels for: Vulkan, Metal, CUDA.
//!
//! Two kernels, and products of Burn's between them: each far chunk is split and
//! summarised where its keys are, so that nothing is read back; the states are mixed;
//! and each block of queries takes one softmax over all that it sees.

mod attend;
mod route;
mod summary;
mod units;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;

use super::{BlockAttention, BlockAttentionOps, BlockStatesPrimitive, portable};
use crate::cube::{computes_in, primitive, tensor};

/// The widest head whose query and output a unit can keep in registers.
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
        let size = q.shape();
        let inputs = [&q, &k, &v].map(primitive);
        if let [Some(q), Some(k), Some(v)] = inputs
            && size.num_elements() > 0
            && [&q, &k, &v].into_iter().all(|x| x.dtype == q.dtype)
            && fuses(&q.device, q.dtype, size[3], &settings)
            && let Some(done) = forward([q, k, v], states.clone(), &settings, scale)
        {
            return done;
        }
        portable::forward::<Self>([q, k, v], states, settings, scale)
    }
}

/// Whether a device has kernels for heads of `d` dimensions.
pub(super) fn fuses(
    device: &CubeDevice,
    dtype: DType,
    d: usize,
    settings: &BlockAttention,
) -> bool {
    // An online softmax that looks into clusters would have to wait for all their scores.
    settings.exact_clusters == 0
        && attends(device, dtype, d)
        && summary::shared_bytes(settings, d) <= shared_bytes(device)
}

/// Whether a device has the kernel that attends.
fn attends(device: &CubeDevice, dtype: DType, d: usize) -> bool {
    (1..=WIDEST).contains(&d)
        && computes_in(dtype)
        && attend::shared_bytes(d) <= shared_bytes(device)
}

fn shared_bytes(device: &CubeDevice) -> usize {
    device.client().properties().hardware.max_shared_memory_size
}

/// Causal attention to all tokens: output `[B, H, N, D]` and log-sum-exp `[B, H, N]`.
pub(crate) fn causal(
    inputs: [&FloatTensor<Cube>; 3],
    scale: f64,
) -> Option<(FloatTensor<Cube>, FloatTensor<Cube>)> {
    let [q, k, v] = inputs.map(primitive);
    let (q, k, v) = (q?, k?, v?);
    let size = q.shape();
    let settings = BlockAttention {
        sinks: 0,
        chunk_size: size[2].max(1),
        near_chunks: 0,
        clusters: 0,
        exact_clusters: 0,
    };
    let fits = size == k.shape()
        && size.num_elements() > 0
        && [&k, &v].into_iter().all(|x| x.dtype == q.dtype)
        && attends(&q.device, q.dtype, size[3]);
    fits.then(|| forward([q, k, v], BlockStatesPrimitive::Off, &settings, scale))?
}

fn forward(
    [q, k, v]: [CubeTensor; 3],
    states: BlockStatesPrimitive<Cube>,
    settings: &BlockAttention,
    scale: f64,
) -> Option<(FloatTensor<Cube>, FloatTensor<Cube>)> {
    let shape = q.shape();
    let (n, d) = (shape[2], shape[3]);
    let far = match settings.clusters {
        0 => 0,
        _ => settings.far_chunks(n),
    };
    let mut alike = None;
    if far > 0 {
        let with_state = !matches!(states, BlockStatesPrimitive::Off);
        let summary = summary::summarise([&k, &v], settings, far, with_state);
        let mixed = match summary.states {
            None => None,
            Some(whole) => {
                let whole = project(tensor(whole)?, states, d);
                Some(route::mix(
                    &q,
                    &summary.means,
                    whole,
                    settings,
                    scale as f32,
                )?)
            }
        };
        alike = Some(attend::Alike {
            keys: summary.keys,
            values: summary.values,
            bias: summary.bias,
            states: mixed,
        });
    }
    let attend = match units::fits(&q.device, q.dtype, d) {
        true => units::attend,
        false => attend::attend,
    };
    let (out, lse) = attend([q, k, v], alike, settings, scale as f32);
    // Laid out as [B, N, H, D], as whoever merges the heads wants it.
    Some((Cube::float_swap_dims(tensor(out)?, 1, 2), tensor(lse)?))
}

/// U_k U_kᵀ F U_v U_vᵀ of states in bases, F of whole ones. `[B, H, F, D, D]`
fn project(
    whole: FloatTensor<Cube>,
    states: BlockStatesPrimitive<Cube>,
    d: usize,
) -> FloatTensor<Cube> {
    let BlockStatesPrimitive::Compressed { key, value } = states else {
        return whole;
    };
    let [left, right] = [key, value].map(|basis| {
        let basis = Cube::float_cast(basis, FloatDType::F32);
        let (h, r) = (basis.shape()[0], basis.shape()[2]);
        let basis = Cube::float_reshape(basis, Shape::from([1, h, 1, d, r]));
        Cube::float_matmul(basis.clone(), Cube::float_swap_dims(basis, 3, 4))
    });
    Cube::float_matmul(Cube::float_matmul(left, whole), right)
}
