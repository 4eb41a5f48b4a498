//! Panics under libFuzzer.

use std::panic::{UnwindSafe, catch_unwind, set_hook};
use std::process::abort;
use std::sync::{Mutex, Once, PoisonError};

static LAST: Mutex<String> = Mutex::new(String::new());

/// Calls `read`, and ends the process if a panic leaves it.
///
/// libFuzzer's own hook ends the process at every panic, also at those of `tokenizers` and `parquet`
/// that `bsbr-data` catches and returns as errors.
pub fn uncaught(read: impl FnOnce() + UnwindSafe) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        set_hook(Box::new(|panic| {
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
    });
    if catch_unwind(read).is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        abort();
    }
}
