//! Panics of `tokenizers` as errors.

/// What `call` gives, or why it gives nothing.
///
/// `tokenizers` panics on some files that are not as it writes them, when it reads them or only
/// when it uses what it read. Nothing that `call` borrows is left half changed by that: it either
/// makes a value of its own, which is lost, or changes nothing but caches.
pub(super) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    crate::guard::guarded("tokenizers", call)
}
