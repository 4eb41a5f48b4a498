//! Reductions over the units of a cube, in a fixed order.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

/// Units of a cube with reductions, a power of two.
pub(crate) const UNITS: usize = 128;

/// The sum over the units, through `shared`, which has a place for each.
#[cube]
pub(crate) fn total(own: f32, shared: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS_X as usize;
    shared[unit] = own;
    sync_cube();
    #[unroll]
    for level in 0..comptime!(UNITS.ilog2()) {
        let half = comptime!(UNITS >> (level + 1));
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
    }
    let sum = shared[0];
    // All units must have read before the next write.
    sync_cube();
    sum
}

/// The maximum over the units, in the same way.
#[cube]
pub(crate) fn highest(own: f32, shared: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS_X as usize;
    shared[unit] = own;
    sync_cube();
    #[unroll]
    for level in 0..comptime!(UNITS.ilog2()) {
        let half = comptime!(UNITS >> (level + 1));
        if unit < half {
            let other = shared[unit + half];
            shared[unit] = max(shared[unit], other);
        }
        sync_cube();
    }
    let most = shared[0];
    sync_cube();
    most
}
