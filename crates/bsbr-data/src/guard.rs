//! Panics of libraries as errors.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` gives, or why it gives nothing.
///
/// Libraries that read files panic on some that are not as they write them. Nothing that `call`
/// borrows may be used after that unless it is whole: a value that `call` makes is lost, and what
/// it changes must be caches alone, or be given up.
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
