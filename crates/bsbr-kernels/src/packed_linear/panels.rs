//! The layout of weights: panels of 32 outputs, each from the first input to the last.
//!
//! An element of a panel is a *group* of 32 bits: the weights of one output for one, two or four
//! consecutive inputs. A strip has the same group of every output of the panel, and fills two
//! registers of 512 bits.

/// Outputs of a panel.
pub(super) const COLUMNS: usize = 32;
/// Bytes of a register, and of a line of the cache.
const LINE: usize = 64;

/// A group of every output of a panel, or a sum.
pub(super) type Strip = [u32; COLUMNS];

/// The strips of all panels, aligned to cache lines.
#[derive(Debug)]
pub(super) struct Panels {
    /// Numbers instead of strips, because only vectors of numbers are allocated as untouched zeros.
    groups: Vec<u32>,
    /// The start of the first line.
    start: usize,
    /// Number of strips of a panel.
    depth: usize,
}

impl Panels {
    /// Zeros.
    pub(super) fn zeros(panels: usize, depth: usize) -> Self {
        let groups = vec![0; panels * depth * COLUMNS + LINE / size_of::<u32>()];
        let start = groups.as_ptr().align_offset(LINE);
        Self {
            // If the alignment is unknown, lines are unaligned, which is only slower.
            start: if start < LINE { start } else { 0 },
            groups,
            depth,
        }
    }

    /// All strips, for writing.
    pub(super) fn strips_mut(&mut self) -> &mut [Strip] {
        self.groups[self.start..].as_chunks_mut().0
    }

    /// The strips of a panel.
    pub(super) fn panel(&self, panel: usize) -> &[Strip] {
        let strips = self.groups[self.start..].as_chunks().0;
        &strips[panel * self.depth..][..self.depth]
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.groups[..]) - LINE
    }
}
