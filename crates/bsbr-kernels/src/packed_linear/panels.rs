//! How weights lie: in panels of 32 outputs, each panel from the first input to the last.
//!
//! A number of a panel is a *group* of 32 bits: the weights of one output for one, two or four inputs
//! that follow each other. A strip has the same group of every output of the panel, and fills two
//! registers of 512 bits.

/// Outputs of a panel.
pub(super) const COLUMNS: usize = 32;
/// Bytes of a register, and of a line of the cache.
const LINE: usize = 64;

/// A group of every output of a panel, or a sum.
pub(super) type Strip = [u32; COLUMNS];

/// The strips of all panels, on lines of the cache of their own.
#[derive(Debug)]
pub(super) struct Panels {
    /// Numbers, for room of zeros that is not touched before it is written is had of numbers alone.
    groups: Vec<u32>,
    /// Where the first line begins.
    start: usize,
    /// Strips of a panel.
    depth: usize,
}

impl Panels {
    /// Zeros.
    pub(super) fn zeros(panels: usize, depth: usize) -> Self {
        let groups = vec![0; panels * depth * COLUMNS + LINE / size_of::<u32>()];
        let start = groups.as_ptr().align_offset(LINE);
        Self {
            // Where it cannot be known, lines are not what they could be, and all else is as it is.
            start: if start < LINE { start } else { 0 },
            groups,
            depth,
        }
    }

    /// All strips, to be written.
    pub(super) fn strips_mut(&mut self) -> &mut [Strip] {
        self.groups[self.start..].as_chunks_mut().0
    }

    /// The strips of a panel.
    pub(super) fn panel(&self, panel: usize) -> &[Strip] {
        let strips = self.groups[self.start..].as_chunks().0;
        &strips[panel * self.depth..][..self.depth]
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.groups[..]) - LINE
    }
}
