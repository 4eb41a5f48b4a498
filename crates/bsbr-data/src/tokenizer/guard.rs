//! Panics of `tokenizers` as errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` gives, or why it gives nothing.
///
/// `tokenizers` panics on some files that are not as it writes them, when it reads them or only
/// when it uses what it read. Nothing that `call` borrows is left half changed by that: it either
/// makes a value of its own, which is lost, or changes nothing but caches.
pub(super) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("`tokenizers` panicked, as it does on damaged files".to_owned()),
    }
}
