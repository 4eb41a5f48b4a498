//! How weights lie: in panels of 32 outputs, each panel from the first input to the last.
//!
//! A number of a panel is a *group* of 32 bits: the weights of one output for one, two or four inputs
//! that follow each other. A strip has the same group of every output of the panel, and fills two
//! registers of 512 bits.

/// Outputs of a panel.
pub(super) const COLUMNS: usize = 2 * LANES;
/// Groups of a register.
pub(super) const LANES: usize = 16;

/// Groups that fill a register and a line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [u32; LANES]);

/// A group of every output of a panel, or a sum.
pub(super) type Strip = [Lanes; 2];

/// Strips of zeros.
pub(super) const ZEROS: Strip = [Lanes([0; LANES]); 2];
