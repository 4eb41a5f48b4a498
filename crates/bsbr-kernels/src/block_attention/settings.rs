//! What a query sees, and how what is far is kept.

use serde::{Deserialize, Serialize};

/// Which keys a query of [`block_attention`](super::block_attention) sees.
///
/// The first `sinks` tokens are seen by everyone. The tokens after them are cut
/// into chunks of `chunk_size`. A query sees those tokens of its own chunk that
/// do not come later, and of the `near_chunks` chunks before it all. Every chunk
/// before these, its *far field*, it sees as `clusters` clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockAttention {
    /// First tokens, seen by everyone.
    pub sinks: usize,
    /// S, tokens per chunk, at least 1.
    pub chunk_size: usize,
    /// P, chunks before the own one that are seen exactly.
    pub near_chunks: usize,
    /// G, clusters per far chunk, a power of two; 0 for no far field.
    pub clusters: usize,
    /// t, clusters whose tokens a query sees instead; 0 for none.
    pub exact_clusters: usize,
    /// How keys and values of far tokens are kept for queries that look them up.
    pub kv_bits: KvBits,
    /// How far each head looks.
    pub levels: HeadLevels,
}

impl Default for BlockAttention {
    /// Chunks of 128 tokens with one near chunk, 4 sinks and no far field.
    fn default() -> Self {
        Self {
            sinks: 4,
            chunk_size: 128,
            near_chunks: 1,
            clusters: 0,
            exact_clusters: 0,
            kv_bits: KvBits::default(),
            levels: HeadLevels::default(),
        }
    }
}

impl BlockAttention {
    /// The settings of one head, which all heads would then have.
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
            ..*self
        }
    }

    /// Chunks that are far from the last of `tokens` tokens.
    pub(super) fn far_chunks(&self, tokens: usize) -> usize {
        let chunks = tokens.saturating_sub(self.sinks).div_ceil(self.chunk_size);
        self.far_of(chunks.saturating_sub(1))
    }

    /// Chunks that are far from chunk `chunk`.
    pub(super) fn far_of(&self, chunk: usize) -> usize {
        chunk.saturating_sub(self.near_chunks)
    }

    /// First token of chunk `chunk`.
    pub(super) fn start_of(&self, chunk: usize) -> usize {
        self.sinks + chunk * self.chunk_size
    }
}

/// Bits in which numbers of far tokens are kept.
///
/// With fewer than 32, a key or value is kept as whole numbers and a scale of its own: in 16 and
/// 8 bits x ≈ s·c with s = max |x| / (2^(bits−1) − 1), in 4 bits x ≈ min x + s·c with
/// s = (max x − min x) / 15. Mean keys and values of clusters are then kept in 16 bits.
///
/// In files they are a number: 4, 8, 16 or 32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum KvBits {
    /// Whole numbers from 0 to 15, with a scale and an offset.
    Four,
    /// Whole numbers from −127 to 127, with a scale.
    Eight,
    /// Whole numbers from −32767 to 32767, with a scale.
    Sixteen,
    /// As they are.
    #[default]
    ThirtyTwo,
}

impl KvBits {
    /// All of them, the fewest first.
    pub const ALL: [Self; 4] = [Self::Four, Self::Eight, Self::Sixteen, Self::ThirtyTwo];

    /// How many they are.
    pub fn bits(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }

    /// The bits in which means of clusters are kept beside such tokens.
    pub fn of_means(self) -> Self {
        match self {
            Self::ThirtyTwo => Self::ThirtyTwo,
            _ => Self::Sixteen,
        }
    }
}

/// A number of bits in which nothing is kept.
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

/// How far a head looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadLevel {
    /// Sinks and near chunks alone.
    Near,
    /// Far chunks as clusters, too.
    Clusters,
    /// And the tokens of each query's best clusters.
    #[default]
    Lookups,
}

/// The level of each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLevels {
    /// Bit h: head h has a far field.
    far: u128,
    /// Bit h: head h looks clusters up.
    lookups: u128,
}

impl Default for HeadLevels {
    /// [`LOOKUPS`](Self::LOOKUPS)
    fn default() -> Self {
        Self::LOOKUPS
    }
}

impl HeadLevels {
    /// Every head looks clusters up.
    pub const LOOKUPS: Self = Self {
        far: u128::MAX,
        lookups: u128::MAX,
    };

    /// The most heads that may differ.
    pub const MOST: usize = 128;

    /// The given levels, one a head; of heads beyond them, and without any, lookups.
    ///
    /// # Panics
    ///
    /// Panics if there are more than [`MOST`](Self::MOST).
    pub fn new(levels: &[HeadLevel]) -> Self {
        assert!(
            levels.len() <= Self::MOST,
            "levels of {} heads, at most {} have one of their own",
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

    /// Neighbouring heads of one level: the first of them, how many they are.
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
