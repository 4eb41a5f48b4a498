//! Where operations are called from.

use burn::tensor::Device;

/// Calls `work` on one of the threads that the operations of the Flex backend run on, where `device` is
/// of that backend.
///
/// Called from another thread, each operation wakes those threads, and sleeps until they are done. That
/// takes longer than the product of one row with a small weight. Other devices are left to the thread
/// that called: GPUs have a queue for each.
pub fn on_workers<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => rayon::scope(|_| work()),
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => work(),
    }
}
