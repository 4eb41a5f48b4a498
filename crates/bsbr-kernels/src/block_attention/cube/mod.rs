//! The forward pass on devices that CubeCL has kernels for: Vulkan, Metal, CUDA.
//!
//! Two kernels, and products of Burn's between them: each far chunk is split and
//! summarised where its keys are, so that nothing is read back; the states are mixed;
//! and each block of queries takes one softmax over all that it sees.

mod attend;
mod route;
mod summary;

use std::any::Any;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use super::{BlockAttention, BlockAttentionOps, BlockStatesPrimitive, portable};

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
    let shared = device.client().properties().hardware.max_shared_memory_size;
    // An online softmax that looks into clusters would have to wait for all their scores.
    settings.exact_clusters == 0
        && (1..=WIDEST).contains(&d)
        && [DType::F32, DType::F16, DType::BF16].contains(&dtype)
        && attend::shared_bytes(d) <= shared
        && summary::shared_bytes(settings, d) <= shared
}

/// A tensor of the backend as the kernels take it, unless the backend is one that
/// collects operations to fuse them.
fn primitive(x: &FloatTensor<Cube>) -> Option<CubeTensor> {
    (x as &dyn Any).downcast_ref::<CubeTensor>().cloned()
}

/// The way back.
fn tensor(x: CubeTensor) -> Option<FloatTensor<Cube>> {
    (&x as &dyn Any)
        .downcast_ref::<FloatTensor<Cube>>()
        .cloned()
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
                let means = tensor(summary.means.clone())?;
                let mixed = route::mix(tensor(q.clone())?, means, whole, settings, scale);
                primitive(&mixed)
            }
        };
        alike = Some(attend::Alike {
            keys: summary.keys,
            values: summary.values,
            bias: summary.bias,
            states: mixed,
        });
    }
    let (out, lse) = attend::attend([q, k, v], alike, settings, scale as f32);
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

/// Room on the device of `like` that the kernels index as if it were in rows.
fn room(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// The elements that a kernel reads and writes.
fn elements(dtype: DType) -> ElemType {
    ElemType::Float(match dtype {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => FloatKind::F32,
    })
}
