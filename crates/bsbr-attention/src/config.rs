//! Which attention a layer runs, and its settings.

use bsbr_kernels::HeadLevels;
pub use bsbr_kernels::{HeadLevel, KvBits};
use serde::{Deserialize, Serialize};

use crate::attention::HeadShape;
use crate::error::ConfigError;

/// The largest chunk size accepted; a larger one is a mistake, not a setting.
pub const MAX_CHUNK_SIZE: usize = 1 << 20;

/// The attention of one layer.
///
/// Serialised with an `arm` tag beside the settings, as in
/// `{"arm": "moments", "chunk_size": 128, "clusters": 8}`. As text it is
/// `moments:chunk_size=128,clusters=8`; what is not said there has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "arm", rename_all = "snake_case")]
pub enum ArmConfig {
    /// Exact causal softmax attention over all tokens: the original.
    Dense(DenseConfig),
    /// Sinks and near field alone.
    Local(LocalConfig),
    /// The report's formula, made causal.
    Published(PublishedConfig),
    /// One softmax over sinks, near tokens, the clusters of far chunks and the tokens of each
    /// query's best clusters, perhaps plus a state.
    Moments(MomentsConfig),
}

/// Settings of [`ArmConfig::Dense`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenseConfig {
    /// Bits in which keys and values are kept, those of the own token too.
    #[serde(skip_serializing_if = "is_whole")]
    pub kv_bits: KvBits,
}

/// Settings of [`ArmConfig::Local`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// S, tokens per chunk.
    pub chunk_size: usize,
    /// P, chunks before the own one that are attended to exactly.
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
    /// Factor by which the D×D states are compressed; 1 keeps them whole.
    pub compression: usize,
}

/// Settings of [`ArmConfig::Moments`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MomentsConfig {
    /// S, tokens per chunk.
    pub chunk_size: usize,
    /// P, chunks before the own one that are attended to exactly.
    pub near_chunks: usize,
    /// First tokens of the sequence that every token attends to exactly.
    pub sink_tokens: usize,
    /// G, clusters per far chunk; a power of two, at most `chunk_size`.
    pub clusters: usize,
    /// Whether the centred state F is kept and read.
    pub state: bool,
    /// t, clusters whose tokens a query attends to exactly; 0 for none.
    pub exact_clusters: usize,
    /// Factor by which F is compressed; 1 keeps it whole, more needs `state`.
    pub compression: usize,
    /// Whether there are parameters that only training sets: a routing of its own for the state,
    /// and a [`RetrievalTuning`](crate::RetrievalTuning).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
    /// Bits in which keys and values of far tokens are kept, for queries that look them up. Where
    /// a file does not say, 32.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub kv_bits: KvBits,
    /// How far each head looks; none for lookups in all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<HeadLevel>,
}

/// Whether nothing is rounded, which needs not be said.
fn is_whole(bits: &KvBits) -> bool {
    *bits == KvBits::ThirtyTwo
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            chunk_size: 128,
            near_chunks: 1,
            sink_tokens: 4,
        }
    }
}

impl Default for PublishedConfig {
    fn default() -> Self {
        Self {
            chunk_size: 128,
            compression: 1,
        }
    }
}

impl Default for MomentsConfig {
    fn default() -> Self {
        Self {
            chunk_size: 128,
            near_chunks: 1,
            sink_tokens: 4,
            clusters: 8,
            state: false,
            exact_clusters: 12,
            compression: 1,
            learned: false,
            kv_bits: KvBits::Eight,
            levels: Vec::new(),
        }
    }
}

impl MomentsConfig {
    /// Summaries alone: nothing is looked up, and the state is kept.
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

    /// The settings of one head as if there were no other.
    pub fn of_head(&self, head: usize) -> Self {
        Self {
            levels: self.levels.get(head).copied().into_iter().collect(),
            ..self.clone()
        }
    }

    /// Whether any head looks clusters up.
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

    /// Bits in which keys and values are kept that are not near.
    pub fn kv_bits(&self) -> KvBits {
        match self {
            Self::Dense(c) => c.kv_bits,
            Self::Moments(c) => c.kv_bits,
            Self::Local(_) | Self::Published(_) => KvBits::ThirtyTwo,
        }
    }

    /// The arm's name as it stands in configuration files and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Local(_) => "local",
            Self::Published(_) => "published",
            Self::Moments(_) => "moments",
        }
    }

    /// S, or `None` for the dense arm, which has no chunks.
    pub fn chunk_size(&self) -> Option<usize> {
        match self {
            Self::Dense(_) => None,
            Self::Local(c) => Some(c.chunk_size),
            Self::Published(c) => Some(c.chunk_size),
            Self::Moments(c) => Some(c.chunk_size),
        }
    }

    /// Factor by which states are compressed; 1 where there is no state.
    pub fn compression(&self) -> usize {
        match self {
            Self::Dense(_) | Self::Local(_) => 1,
            Self::Published(c) => c.compression,
            Self::Moments(c) => c.compression,
        }
    }

    /// The same without all that it retrieves from afar: sinks and near field alone. `None` for an
    /// arm that has no far field or makes no difference between near and far.
    pub fn without_retrieval(&self) -> Option<Self> {
        match self {
            Self::Dense(_) | Self::Local(_) => None,
            Self::Published(c) => Some(Self::Local(LocalConfig {
                chunk_size: c.chunk_size,
                near_chunks: 0,
                sink_tokens: 0,
            })),
            Self::Moments(c) => Some(Self::Local(LocalConfig {
                chunk_size: c.chunk_size,
                near_chunks: c.near_chunks,
                sink_tokens: c.sink_tokens,
            })),
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
            in_bounds("chunk_size", size, 1, MAX_CHUNK_SIZE)?;
        }
        match self {
            Self::Dense(_) => Ok(()),
            Self::Local(c) => near_field(c.near_chunks, c.sink_tokens),
            Self::Published(c) => compression(c.compression, head_dim),
            Self::Moments(c) => {
                near_field(c.near_chunks, c.sink_tokens)?;
                in_bounds("clusters", c.clusters, 1, c.chunk_size.next_power_of_two())?;
                if !c.clusters.is_power_of_two() {
                    return Err(ConfigError::ClustersNotPowerOfTwo {
                        clusters: c.clusters,
                    });
                }
                in_bounds("exact_clusters", c.exact_clusters, 0, MAX_CHUNK_SIZE)?;
                levels(c.levels.len(), shape.num_heads)?;
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
/// The factor that results is (D/rank)², which differs from the one asked for
/// where D/√factor is not a whole number.
pub fn compressed_rank(head_dim: usize, factor: usize) -> usize {
    ((head_dim as f64 / (factor.max(1) as f64).sqrt()).round() as usize).clamp(1, head_dim.max(1))
}

fn near_field(near_chunks: usize, sink_tokens: usize) -> Result<(), ConfigError> {
    in_bounds("near_chunks", near_chunks, 0, MAX_CHUNK_SIZE)?;
    in_bounds("sink_tokens", sink_tokens, 0, MAX_CHUNK_SIZE)
}

fn compression(factor: usize, head_dim: usize) -> Result<(), ConfigError> {
    in_bounds("compression", factor, 1, head_dim * head_dim)
}

/// One level a head, or none.
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
