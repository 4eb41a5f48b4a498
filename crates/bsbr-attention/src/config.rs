//! The arms of a layer and their settings.

use bsbr_kernels::{BlockAttention, Grid, HeadLevels, Spans};
pub use bsbr_kernels::{HeadLevel, KvBits};
use serde::{Deserialize, Serialize};

use crate::attention::HeadShape;
use crate::error::ConfigError;

/// The largest accepted chunk size; larger ones are mistakes.
pub const MAX_CHUNK_SIZE: usize = 1 << 20;

/// The attention of one layer.
///
/// Serialised with an `arm` tag beside the settings, as in
/// `{"arm": "moments", "chunk_size": 128, "clusters": 8}`. As text it is
/// `moments:chunk_size=128,clusters=8`; settings that the text does not name have their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "arm", rename_all = "snake_case")]
pub enum ArmConfig {
    /// Exact causal softmax attention over all tokens: the original.
    Dense(DenseConfig),
    /// Only sinks and near field.
    Local(LocalConfig),
    /// The report's formula, made causal.
    Published(PublishedConfig),
    /// One softmax over sinks, near tokens, the clusters of far chunks and the tokens of each
    /// query's best clusters, optionally plus a state.
    Moments(MomentsConfig),
}

/// Settings of [`ArmConfig::Dense`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenseConfig {
    /// Bits of stored keys and values, including those of the token itself.
    #[serde(skip_serializing_if = "is_whole")]
    pub kv_bits: KvBits,
}

/// Settings of [`ArmConfig::Local`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// S, tokens per chunk.
    pub chunk_size: usize,
    /// P, earlier chunks that are attended to exactly.
    pub near_chunks: usize,
    /// First tokens of the sequence that every token attends to exactly.
    pub sink_tokens: usize,
}

/// Settings of [`ArmConfig::Published`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishedConfig {
    /// S, tokens per chunk.
    pub chunk_size: usize,
    /// Compression factor of the D×D states; 1 keeps them whole.
    pub compression: usize,
}

/// Settings of [`ArmConfig::Moments`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MomentsConfig {
    /// S, tokens per chunk.
    pub chunk_size: usize,
    /// P, earlier chunks that are attended to exactly.
    pub near_chunks: usize,
    /// First tokens of the sequence that every token attends to exactly.
    pub sink_tokens: usize,
    /// G, clusters per far chunk; a power of two, at most `chunk_size`.
    pub clusters: usize,
    /// Whether the centred state F is stored and read.
    pub state: bool,
    /// t, clusters whose tokens a query attends to exactly; 0 for none.
    pub exact_clusters: usize,
    /// Compression factor of F; 1 keeps it whole, more needs `state`.
    pub compression: usize,
    /// Whether there are learned parameters, which only training sets: a routing for the state,
    /// and a [`RetrievalTuning`](crate::RetrievalTuning).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
    /// Bits of stored keys and values of far tokens, for lookups. 32 if a file does not name it.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub kv_bits: KvBits,
    /// What each head sees of far text; empty for lookups in all heads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<HeadLevel>,
    /// K, far chunks of a span, whose clusters are merged into as many as a chunk has; 0 for no
    /// spans. They save time in very long texts.
    #[serde(skip_serializing_if = "is_zero")]
    pub span: usize,
    /// w, merged clusters that a query replaces by their clusters; needs `span`.
    #[serde(skip_serializing_if = "is_usual_opened")]
    pub opened: usize,
}

/// Merged clusters that a query opens by default.
const OPENED: usize = 8;

/// Whether there are no spans, which is not written.
fn is_zero(span: &usize) -> bool {
    *span == 0
}

/// Whether the default is set, which is not written.
fn is_usual_opened(opened: &usize) -> bool {
    *opened == OPENED
}

/// Whether nothing is rounded, which is not written.
fn is_whole(bits: &KvBits) -> bool {
    *bits == KvBits::ThirtyTwo
}

impl From<Grid> for LocalConfig {
    fn from(grid: Grid) -> Self {
        Self {
            chunk_size: grid.chunk_size,
            near_chunks: grid.near_chunks,
            sink_tokens: grid.sinks,
        }
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Grid::default().into()
    }
}

impl Default for PublishedConfig {
    fn default() -> Self {
        Self {
            chunk_size: Grid::default().chunk_size,
            compression: 1,
        }
    }
}

impl Default for MomentsConfig {
    fn default() -> Self {
        let LocalConfig {
            chunk_size,
            near_chunks,
            sink_tokens,
        } = LocalConfig::default();
        Self {
            chunk_size,
            near_chunks,
            sink_tokens,
            clusters: 8,
            state: false,
            exact_clusters: 12,
            compression: 1,
            learned: false,
            kv_bits: KvBits::Eight,
            levels: Vec::new(),
            span: 0,
            opened: OPENED,
        }
    }
}

impl LocalConfig {
    /// The sinks and the chunk grid.
    pub fn grid(&self) -> Grid {
        Grid {
            sinks: self.sink_tokens,
            chunk_size: self.chunk_size,
            near_chunks: self.near_chunks,
        }
    }

    /// The settings of the kernel.
    pub(crate) fn block_attention(&self) -> BlockAttention {
        BlockAttention {
            grid: self.grid(),
            ..BlockAttention::default()
        }
    }
}

impl PublishedConfig {
    /// The chunk grid: no sinks and no near chunks.
    pub fn grid(&self) -> Grid {
        Grid {
            sinks: 0,
            chunk_size: self.chunk_size,
            near_chunks: 0,
        }
    }
}

impl MomentsConfig {
    /// The sinks and the chunk grid.
    pub fn grid(&self) -> Grid {
        Grid {
            sinks: self.sink_tokens,
            chunk_size: self.chunk_size,
            near_chunks: self.near_chunks,
        }
    }

    /// The settings of the kernel.
    pub(crate) fn block_attention(&self) -> BlockAttention {
        BlockAttention {
            grid: self.grid(),
            clusters: self.clusters,
            exact_clusters: self.exact_clusters,
            kv_bits: self.kv_bits,
            levels: self.head_levels(),
            spans: self.spans(),
        }
    }

    /// Summaries without lookups, with the state.
    pub fn summaries() -> Self {
        Self {
            state: true,
            exact_clusters: 0,
            kv_bits: KvBits::ThirtyTwo,
            ..Self::default()
        }
    }

    /// The level of each head.
    pub fn head_levels(&self) -> HeadLevels {
        HeadLevels::new(&self.levels)
    }

    /// The second level of the far field.
    pub fn spans(&self) -> Spans {
        match self.span {
            0 => Spans::NONE,
            chunks => Spans {
                chunks,
                opened: self.opened,
            },
        }
    }

    /// The settings of a single head.
    pub fn of_head(&self, head: usize) -> Self {
        Self {
            levels: self.levels.get(head).copied().into_iter().collect(),
            ..self.clone()
        }
    }

    /// Whether any head uses lookups.
    pub fn looks_up(&self) -> bool {
        let some = |level: &HeadLevel| *level == HeadLevel::Lookups;
        self.exact_clusters > 0 && (self.levels.is_empty() || self.levels.iter().any(some))
    }
}

impl ArmConfig {
    /// The original.
    pub const DENSE: Self = Self::Dense(DenseConfig {
        kv_bits: KvBits::ThirtyTwo,
    });

    /// Bits of stored keys and values outside the near field.
    pub fn kv_bits(&self) -> KvBits {
        match self {
            Self::Dense(c) => c.kv_bits,
            Self::Moments(c) => c.kv_bits,
            Self::Local(_) | Self::Published(_) => KvBits::ThirtyTwo,
        }
    }

    /// The arm's name in configuration files and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Local(_) => "local",
            Self::Published(_) => "published",
            Self::Moments(_) => "moments",
        }
    }

    /// The sinks and the chunk grid; [`Grid::DENSE`] for the dense arm.
    pub fn grid(&self) -> Grid {
        match self {
            Self::Dense(_) => Grid::DENSE,
            Self::Local(c) => c.grid(),
            Self::Published(c) => c.grid(),
            Self::Moments(c) => c.grid(),
        }
    }

    /// S, or `None` for the dense arm.
    pub fn chunk_size(&self) -> Option<usize> {
        (!matches!(self, Self::Dense(_))).then(|| self.grid().chunk_size)
    }

    /// Compression factor of states; 1 without a state.
    pub fn compression(&self) -> usize {
        match self {
            Self::Dense(_) | Self::Local(_) => 1,
            Self::Published(c) => c.compression,
            Self::Moments(c) => c.compression,
        }
    }

    /// The same arm without its far field: only sinks and near field. `None` for an arm without
    /// far field.
    pub fn without_retrieval(&self) -> Option<Self> {
        match self {
            Self::Dense(_) | Self::Local(_) => None,
            Self::Published(_) | Self::Moments(_) => Some(Self::Local(self.grid().into())),
        }
    }

    /// Checks every setting against its bounds and against the heads.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first setting that is out of bounds.
    pub fn validate(&self, shape: HeadShape) -> Result<(), ConfigError> {
        let head_dim = shape.head_dim;
        if let Some(size) = self.chunk_size() {
            let grid = self.grid();
            in_bounds("chunk_size", size, 1, MAX_CHUNK_SIZE)?;
            in_bounds("near_chunks", grid.near_chunks, 0, MAX_CHUNK_SIZE)?;
            in_bounds("sink_tokens", grid.sinks, 0, MAX_CHUNK_SIZE)?;
        }
        match self {
            Self::Dense(_) | Self::Local(_) => Ok(()),
            Self::Published(c) => compression(c.compression, head_dim),
            Self::Moments(c) => {
                in_bounds("clusters", c.clusters, 1, c.chunk_size.next_power_of_two())?;
                if !c.clusters.is_power_of_two() {
                    return Err(ConfigError::ClustersNotPowerOfTwo {
                        clusters: c.clusters,
                    });
                }
                in_bounds("exact_clusters", c.exact_clusters, 0, MAX_CHUNK_SIZE)?;
                levels(c.levels.len(), shape.num_heads)?;
                in_bounds("span", c.span, 0, MAX_CHUNK_SIZE)?;
                in_bounds("opened", c.opened, 0, MAX_CHUNK_SIZE)?;
                if c.span == 0 && c.opened != OPENED {
                    return Err(ConfigError::OpenedWithoutSpan { opened: c.opened });
                }
                if c.compression > 1 && !c.state {
                    return Err(ConfigError::CompressionWithoutState {
                        compression: c.compression,
                    });
                }
                compression(c.compression, head_dim)
            }
        }
    }
}

/// Rank of a D×D state compressed by `factor`: round(D/√factor), at least 1.
///
/// The resulting factor is (D/rank)², which differs from the requested one if D/√factor is not a
/// whole number.
pub fn compressed_rank(head_dim: usize, factor: usize) -> usize {
    ((head_dim as f64 / (factor.max(1) as f64).sqrt()).round() as usize).clamp(1, head_dim.max(1))
}

fn compression(factor: usize, head_dim: usize) -> Result<(), ConfigError> {
    in_bounds("compression", factor, 1, head_dim * head_dim)
}

/// Checks that there is one level per head, or none.
fn levels(found: usize, heads: usize) -> Result<(), ConfigError> {
    match found {
        0 => Ok(()),
        _ if heads > HeadLevels::MOST => Err(ConfigError::TooManyLevels {
            heads,
            most: HeadLevels::MOST,
        }),
        _ if found != heads => Err(ConfigError::LevelsNotOfHeads { found, heads }),
        _ => Ok(()),
    }
}

fn in_bounds(
    setting: &'static str,
    found: usize,
    min: usize,
    max: usize,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(ConfigError::OutOfBounds {
            setting,
            found,
            min,
            max,
        })
    }
}
