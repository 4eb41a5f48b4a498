//! Turns panics of libraries into errors.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of `call`, or why it has none.
///
/// Libraries that read files panic on some invalid ones. Values that `call` borrows must stay
/// valid afterwards: what `call` creates is lost, and it may change only caches, or values that
/// are then discarded.
pub(crate) fn guarded<T, E: Display>(
    library: &str,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("`{library}` panicked, as it does on damaged files")),
    }
}
