//! The keys that a query sees, and the storage of far tokens.

use serde::{Deserialize, Serialize};

use crate::grid::Grid;

/// The keys that a query of [`block_attention`](super::block_attention) sees.
///
/// A query sees the tokens of its near field, and every chunk of its *far field* as `clusters`
/// clusters. The [`Grid`] defines both fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockAttention {
    /// Sinks and chunks; a chunk has at least one token.
    pub grid: Grid,
    /// G, clusters per far chunk, a power of two; 0 for no far field.
    pub clusters: usize,
    /// t, clusters that a query replaces by their tokens; 0 for none.
    pub exact_clusters: usize,
    /// Bits of keys and values of far tokens for lookups.
    pub kv_bits: KvBits,
    /// What each head sees of the far field.
    pub levels: HeadLevels,
    /// The second level of the far field.
    pub spans: Spans,
}

/// A second level for long texts: *spans* of far chunks.
///
/// Once `chunks` consecutive chunks are far, they form a span, and their clusters are merged into
/// as many as a chunk has, see [`merge_clusters`](crate::merge_clusters). A query first scores
/// the merged clusters of all spans. It *opens* the best: their clusters replace them. It sees the
/// others only as merged clusters. Far chunks after the last span are seen by their own clusters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spans {
    /// K, far chunks of a span; 0 for none.
    pub chunks: usize,
    /// w, merged clusters that a query opens.
    pub opened: usize,
}

impl Spans {
    /// No second level.
    pub const NONE: Self = Self {
        chunks: 0,
        opened: 0,
    };

    /// The number of spans in the first `far` chunks.
    pub fn of(self, far: usize) -> usize {
        far.checked_div(self.chunks).unwrap_or(0)
    }
}

impl Default for BlockAttention {
    /// The default [`Grid`] and no far field.
    fn default() -> Self {
        Self {
            grid: Grid::default(),
            clusters: 0,
            exact_clusters: 0,
            kv_bits: KvBits::default(),
            levels: HeadLevels::default(),
            spans: Spans::NONE,
        }
    }
}

impl BlockAttention {
    /// The settings of one head, as settings for all heads.
    pub fn of_head(&self, head: usize) -> Self {
        let (clusters, exact_clusters) = match self.levels.of(head) {
            HeadLevel::Near => (0, 0),
            HeadLevel::Clusters => (self.clusters, 0),
            HeadLevel::Lookups => (self.clusters, self.exact_clusters),
        };
        Self {
            clusters,
            exact_clusters,
            levels: HeadLevels::default(),
            spans: match clusters {
                0 => Spans::NONE,
                _ => self.spans,
            },
            ..*self
        }
    }
}

/// Bits of stored numbers of far tokens.
///
/// With fewer than 32, a key or value is stored as integers and its own scale: in 16 and 8 bits
/// x ≈ s·c with s = max |x| / (2^(bits−1) − 1), in 4 bits x ≈ min x + s·c with s = (max x − min
/// x) / 15. Mean keys and values of clusters are then stored in 16 bits.
///
/// In files it is a number: 4, 8, 16 or 32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum KvBits {
    /// Integers from 0 to 15, with a scale and an offset.
    Four,
    /// Integers from −127 to 127, with a scale.
    Eight,
    /// Integers from −32767 to 32767, with a scale.
    Sixteen,
    /// Unrounded.
    #[default]
    ThirtyTwo,
}

impl KvBits {
    /// All values, in ascending order.
    pub const ALL: [Self; 4] = [Self::Four, Self::Eight, Self::Sixteen, Self::ThirtyTwo];

    /// The number of bits.
    pub fn bits(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }

    /// The bits of cluster means with such tokens.
    pub fn of_means(self) -> Self {
        match self {
            Self::ThirtyTwo => Self::ThirtyTwo,
            _ => Self::Sixteen,
        }
    }
}

/// An unsupported number of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownKvBits(pub usize);

impl std::fmt::Display for UnknownKvBits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`kv_bits` is {}, expected 4, 8, 16 or 32", self.0)
    }
}

impl std::error::Error for UnknownKvBits {}

impl TryFrom<usize> for KvBits {
    type Error = UnknownKvBits;

    fn try_from(bits: usize) -> Result<Self, UnknownKvBits> {
        let mut all = Self::ALL.into_iter();
        all.find(|of| of.bits() == bits).ok_or(UnknownKvBits(bits))
    }
}

impl From<KvBits> for usize {
    fn from(bits: KvBits) -> Self {
        bits.bits()
    }
}

/// What a head sees of the far field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadLevel {
    /// Only sinks and near chunks.
    Near,
    /// Also far chunks as clusters.
    Clusters,
    /// Also the tokens of each query's best clusters.
    #[default]
    Lookups,
}

/// The level of each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLevels {
    /// Bit h: head h has a far field.
    far: u128,
    /// Bit h: head h uses lookups.
    lookups: u128,
}

impl Default for HeadLevels {
    /// [`LOOKUPS`](Self::LOOKUPS)
    fn default() -> Self {
        Self::LOOKUPS
    }
}

impl HeadLevels {
    /// Every head uses lookups.
    pub const LOOKUPS: Self = Self {
        far: u128::MAX,
        lookups: u128::MAX,
    };

    /// The maximum number of heads with different levels.
    pub const MOST: usize = 128;

    /// The given levels, one per head; further heads use lookups.
    ///
    /// # Panics
    ///
    /// Panics if there are more than [`MOST`](Self::MOST).
    pub fn new(levels: &[HeadLevel]) -> Self {
        assert!(
            levels.len() <= Self::MOST,
            "levels of {} heads, expected at most {}",
            levels.len(),
            Self::MOST
        );
        let mut all = Self::default();
        for (head, level) in levels.iter().enumerate() {
            let bit = 1 << head;
            if *level < HeadLevel::Lookups {
                all.lookups &= !bit;
            }
            if *level < HeadLevel::Clusters {
                all.far &= !bit;
            }
        }
        all
    }

    /// The level of a head.
    pub fn of(self, head: usize) -> HeadLevel {
        let is_in = |set: u128| head >= Self::MOST || set >> head & 1 == 1;
        match (is_in(self.far), is_in(self.lookups)) {
            (false, _) => HeadLevel::Near,
            (true, false) => HeadLevel::Clusters,
            (true, true) => HeadLevel::Lookups,
        }
    }

    /// Runs of neighbouring heads with one level: the first head and their number.
    pub(super) fn runs(self, heads: usize) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for head in 0..heads {
            match runs.last_mut() {
                Some((first, len)) if self.of(*first) == self.of(head) => *len += 1,
                _ => runs.push((head, 1)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_head_has_its_level() {
        use HeadLevel::{Clusters, Lookups, Near};
        let levels = HeadLevels::new(&[Near, Lookups, Lookups, Clusters]);
        let of = [0, 1, 2, 3, 4, 200].map(|head| levels.of(head));
        assert_eq!(of, [Near, Lookups, Lookups, Clusters, Lookups, Lookups]);
        assert_eq!(levels.runs(5), [(0, 1), (1, 2), (3, 1), (4, 1)]);
        assert_eq!(HeadLevels::default().runs(200), [(0, 200)]);
    }

    #[test]
    fn bits_are_told_by_their_number() {
        for bits in KvBits::ALL {
            assert_eq!(KvBits::try_from(bits.bits()), Ok(bits));
        }
        assert_eq!(KvBits::try_from(5), Err(UnknownKvBits(5)));
    }
}
