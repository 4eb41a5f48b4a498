//! Shared parts of kernels for CubeCL devices: Vulkan, Metal, CUDA.

mod product;
mod reduce;

use std::any::Any;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// The maximum number of cubes along one axis; WebGPU allows 65,535.
const WIDEST_GRID: usize = 1 << 15;

pub(crate) use product::product;
pub(crate) use reduce::{UNITS, highest, total};

/// A tensor of the backend in the form for kernels, unless the backend fuses operations.
pub(crate) fn primitive(x: &FloatTensor<Cube>) -> Option<CubeTensor> {
    (x as &dyn Any).downcast_ref::<CubeTensor>().cloned()
}

/// The reverse conversion.
pub(crate) fn tensor(x: CubeTensor) -> Option<FloatTensor<Cube>> {
    (&x as &dyn Any)
        .downcast_ref::<FloatTensor<Cube>>()
        .cloned()
}

/// Nonempty tensors of one type that kernels support, with contiguous rows.
pub(crate) fn rows<const N: usize>(all: [&FloatTensor<Cube>; N]) -> Option<[CubeTensor; N]> {
    let dtype = all.first()?.dtype();
    let fits = |x: &&FloatTensor<Cube>| x.dtype() == dtype && x.shape().num_elements() > 0;
    if !computes_in(dtype) || !all.iter().all(fits) {
        return None;
    }
    let all: Option<Vec<CubeTensor>> = all
        .into_iter()
        .map(|x| primitive(x).map(into_contiguous))
        .collect();
    all?.try_into().ok()
}

/// Whether a device is a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) fn is_cuda(device: &CubeDevice) -> bool {
    matches!(device, CubeDevice::Cuda(_))
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn is_cuda(_: &CubeDevice) -> bool {
    false
}

/// Whether kernels support elements of a type.
pub(crate) fn computes_in(dtype: DType) -> bool {
    [DType::F32, DType::F16, DType::BF16].contains(&dtype)
}

/// Memory on the device of `like`, indexed with contiguous rows.
pub(crate) fn room(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// The element type of a kernel.
pub(crate) fn elements(dtype: DType) -> ElemType {
    ElemType::Float(match dtype {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => FloatKind::F32,
    })
}

/// At least this many cubes; [`cube_index`] numbers them.
pub(crate) fn cubes(count: usize) -> CubeCount {
    let wide = count.clamp(1, WIDEST_GRID);
    CubeCount::Static(wide as u32, count.div_ceil(wide) as u32, 1)
}

/// The number of this cube among those of [`cubes`].
#[cube]
pub(crate) fn cube_index() -> usize {
    CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize
}
