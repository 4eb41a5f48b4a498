//! Where operations are called from.

/// Calls `work` on one of the threads that the operations of the CPU backends run on.
///
/// Called from another thread, each operation wakes those threads, and sleeps until they are done. That
/// takes longer than the product of one row with a small weight.
pub fn on_workers<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
