//! The allocator of the commands: big tensors in huge pages, which are reused.
//!
//! A layer's tensors take tens of MiB. The system's allocator returns each to the kernel, so all of
//! its 4 KiB pages are cleared and mapped again in the next layer.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Huge pages everywhere, if the kernel provides them on request. Freed big blocks are kept for a
/// minute like small ones, so a pass after a pause need not clear them. Adjacent free blocks of
/// more than 256 MiB in total are returned at once, so the memory of a long context is released.
///
/// The limit must be a number. Without one (`oversize_threshold:0`), jemalloc 5.3 keeps the main
/// thread's arena at 8 MiB, so every large tensor is returned and cleared again.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[allow(unsafe_code)] // the name that jemalloc looks for
#[allow(non_upper_case_globals)]
static malloc_conf: &[u8; 61] = b"thp:always,oversize_threshold:268435456,dirty_decay_ms:60000\0";
