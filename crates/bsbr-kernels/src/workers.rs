//! Short operations on a worker thread of the backend.

use burn::tensor::Device;

/// Calls `work` on one of the threads of the Flex backend, if `device` is of that backend.
///
/// From another thread, each operation wakes those threads, and sleeps until they are done. That
/// takes longer than the product of one row with a small weight. For other devices `work` runs on
/// the calling thread: GPUs have a queue per thread.
pub fn on_workers<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => rayon::scope(|_| work()),
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => work(),
    }
}
