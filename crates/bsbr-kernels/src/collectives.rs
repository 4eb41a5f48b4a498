//! Which devices support collective operations.

use burn::tensor::Device;

/// Whether a device supports collective operations such as
/// `burn::tensor::distributed::all_reduce`.
///
/// CUDA devices do. Burn has no query for this: it claims support for all of CubeCL and for remote
/// devices, and panics in the first operation without support.
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
