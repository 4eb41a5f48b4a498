//! The tokens of a far chunk in the order of its clusters, for lookups.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::BlockAttention;

/// The data of a chunk: the start of each of its clusters, the end of the last, and then the
/// tokens of the first cluster, the second, and so on, as offsets from the chunk's first token.
pub(super) fn numbers(settings: &BlockAttention) -> usize {
    settings.clusters + 1 + settings.grid.chunk_size
}

/// Writes the numbers of a chunk from `row` on, by all units of a cube.
#[cube]
pub(super) fn write_order(
    ids: &Shared<[u32]>,
    order: &mut [u32],
    row: usize,
    unit: usize,
    units: usize,
    #[comptime] size: usize,
    #[comptime] clusters: usize,
) {
    let mut cluster = unit;
    while cluster < comptime!(clusters + 1) {
        let mut before = 0u32;
        for token in 0..size {
            if (ids[token] as usize) < cluster {
                before += 1u32;
            }
        }
        order[row + cluster] = before;
        cluster += units;
    }
    let mut token = unit;
    while token < size {
        let own = ids[token];
        let mut before = 0usize;
        for other in 0..size {
            let id = ids[other];
            if id < own || (id == own && other < token) {
                before += 1usize;
            }
        }
        order[row + comptime!(clusters + 1) + before] = token as u32;
        token += units;
    }
}
