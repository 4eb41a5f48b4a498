//! The allocator of the commands: big tensors in huge pages, and kept for the next ones.
//!
//! A layer's tensors are tens of MiB. The system's allocator takes each from the kernel and gives it
//! back, so that all of its pages, of 4 KiB, are cleared and mapped again in the next layer.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Huge pages everywhere, where the kernel gives them to who asks; and big pieces are kept as small
/// ones are, for a minute, so that a pass after a pause need not have them cleared. Free pieces beside
/// each other of more than 256 MiB are given back at once: what a long context leaves is not held
/// beside what it needs next.
///
/// The limit has to be a number. Without one (`oversize_threshold:0`) jemalloc 5.3 leaves the main
/// thread's arena at 8 MiB, so that every large tensor is given back and cleared again.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[allow(unsafe_code)] // the name that jemalloc looks for
#[allow(non_upper_case_globals)]
static malloc_conf: &[u8; 61] = b"thp:always,oversize_threshold:268435456,dirty_decay_ms:60000\0";
