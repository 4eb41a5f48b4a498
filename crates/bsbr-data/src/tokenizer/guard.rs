//! Panics of `tokenizers` as errors.

/// The result of `call`, or why it has none.
///
/// `tokenizers` panics on some invalid files, when it reads or uses them. This leaves nothing
/// that `call` borrows half changed: `call` either creates a value, which is lost, or changes
/// only caches.
pub(super) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    crate::guard::guarded("tokenizers", call)
}
