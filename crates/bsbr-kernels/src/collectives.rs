//! Which devices can sum tensors among themselves.

use burn::tensor::Device;

/// Whether a device has collective operations, `burn::tensor::distributed::all_reduce` among them.
///
/// CUDA's have. Burn has no question for it: it claims them for all of CubeCL and for remote
/// devices, and panics in the first operation where there are none.
pub fn has_collectives(device: &Device) -> bool {
    #[cfg(feature = "cuda")]
    {
        use burn::backend::{CubeDevice, DispatchDevice};
        matches!(
            device.clone().inner().as_dispatch(),
            DispatchDevice::Cube(CubeDevice::Cuda(_))
        )
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        false
    }
}
