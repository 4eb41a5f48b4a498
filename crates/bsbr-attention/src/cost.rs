//! Operation counts of an arm's definition.

use bsbr_kernels::{Grid, KvBits};

use crate::config::{ArmConfig, HeadLevel, MomentsConfig};

/// Passes over a chunk's keys for each of the splits that make its clusters.
const PASSES_PER_SPLIT: f64 = 4.0;

impl ArmConfig {
    /// Pairs of a query and a token that one head attends to exactly, over a sequence.
    ///
    /// Looked-up clusters count as of equal size, S/G tokens each.
    pub fn exact_pairs(&self, tokens: usize) -> f64 {
        let grid = self.grid();
        match self {
            Self::Moments(c) if !c.levels.is_empty() => {
                mean_of_heads(c, |arm| arm.exact_pairs(tokens))
            }
            Self::Moments(c) => {
                let size = c.chunk_size as f64 / c.clusters as f64;
                let looked_into = sum_over_queries(&grid, tokens, |far| {
                    (far * c.clusters).min(c.exact_clusters) as f64 * size
                });
                near_pairs(&grid, tokens) + looked_into
            }
            _ => near_pairs(&grid, tokens),
        }
    }

    /// Multiply-adds of one head's attention over a sequence, by the arm's definition: scores and
    /// weighted values, clusters and states, and building them. Projections and exponentials are
    /// not counted.
    pub fn multiply_adds(&self, tokens: usize, head_dim: usize) -> f64 {
        let d = head_dim as f64;
        let pairs = self.exact_pairs(tokens) * 2.0 * d;
        let (n, grid) = (tokens as f64, self.grid());
        match self {
            Self::Dense(_) | Self::Local(_) => pairs,
            Self::Published(c) => {
                let chunks = grid.whole_chunks(tokens) as f64;
                let state = d * d / c.compression as f64;
                pairs + 2.0 * n * state + chunks * chunks / 2.0 * state
            }
            Self::Moments(c) if !c.levels.is_empty() => {
                mean_of_heads(c, |arm| arm.multiply_adds(tokens, head_dim))
            }
            Self::Moments(c) => {
                let clusters = sum_over_queries(&grid, tokens, |far| scored_clusters(c, far));
                let far_tokens = (grid.far_chunks(tokens) * c.chunk_size) as f64;
                let splits = f64::from(c.clusters.max(1).ilog2());
                let building = far_tokens * splits * PASSES_PER_SPLIT * 2.0 * d;
                let state = match c.state {
                    false => 0.0,
                    true => {
                        let size = d * d / c.compression as f64;
                        let mixed = sum_over_queries(&grid, tokens, |far| far as f64);
                        (n + far_tokens) * d * d + mixed / c.chunk_size as f64 * size
                    }
                };
                pairs + clusters * 2.0 * d + building + state
            }
        }
    }

    /// The size of one head's cache after a sequence, in numbers of 32 bits: keys, values and
    /// summaries of far chunks in their stored bits. The routing data of the published arm counts
    /// as one vector per chunk.
    pub fn cache_numbers(&self, tokens: usize, head_dim: usize) -> f64 {
        let d = head_dim as f64;
        let grid = self.grid();
        let far_tokens = grid.far_chunks(tokens) * grid.chunk_size;
        let held = (tokens - far_tokens.min(tokens)) as f64 * 2.0 * d;
        match self {
            Self::Dense(c) => tokens as f64 * 2.0 * kept(d, c.kv_bits),
            Self::Local(_) => held,
            Self::Published(c) => {
                let chunks = grid.whole_chunks(tokens);
                let open = (tokens - chunks * c.chunk_size) as f64 * 2.0 * d;
                open + chunks as f64 * (d * d / c.compression as f64 + d)
            }
            Self::Moments(c) if !c.levels.is_empty() => {
                mean_of_heads(c, |arm| arm.cache_numbers(tokens, head_dim))
            }
            Self::Moments(c) => {
                let means = 2.0 * kept(d, c.kv_bits.of_means());
                let clusters = c.clusters as f64 * (means + 1.0);
                // Merged clusters, and which clusters they consist of.
                let spans = c.spans().of(grid.far_chunks(tokens)) as f64;
                let of_spans = spans * c.clusters as f64 * (means + 1.0 + c.span as f64);
                let state = if c.state {
                    d * d / c.compression as f64
                } else {
                    0.0
                };
                let looked_up = match c.exact_clusters {
                    0 => 0.0,
                    _ => far_tokens as f64 * 2.0 * kept(d, c.kv_bits),
                };
                let keys = held + looked_up;
                // The attention inputs of the near field, and h_b.
                let (inputs, offer) = match c.learned && c.state {
                    true => (held / 2.0, d),
                    false => (0.0, 0.0),
                };
                let chunks = grid.far_chunks(tokens) as f64;
                keys + inputs + chunks * (clusters + state + offer) + of_spans
            }
        }
    }
}

/// Clusters and merged clusters that a query with `far` far chunks scores. Merged clusters count
/// as of equal size, K clusters each.
fn scored_clusters(config: &MomentsConfig, far: usize) -> f64 {
    let spans = config.spans().of(far);
    let merged = spans * config.clusters;
    let opened = config.spans().opened.min(merged) * config.span;
    ((far - spans * config.span) * config.clusters + merged + opened) as f64
}

/// Size of a row of `d` numbers in fewer bits, with its scale, in numbers of 32 bits.
fn kept(d: f64, bits: KvBits) -> f64 {
    let grid = match bits {
        KvBits::ThirtyTwo => 0.0,
        KvBits::Sixteen | KvBits::Eight => 1.0,
        KvBits::Four => 2.0,
    };
    d * bits.bits() as f64 / 32.0 + grid
}

/// The mean over heads whose levels differ.
fn mean_of_heads(config: &MomentsConfig, of: impl Fn(&ArmConfig) -> f64) -> f64 {
    let of_level = |level: &HeadLevel| {
        let alike = MomentsConfig {
            levels: Vec::new(),
            ..config.clone()
        };
        of(&match level {
            HeadLevel::Lookups => ArmConfig::Moments(alike),
            HeadLevel::Clusters => ArmConfig::Moments(MomentsConfig {
                exact_clusters: 0,
                ..alike
            }),
            HeadLevel::Near => ArmConfig::Moments(alike)
                .without_retrieval()
                .unwrap_or(ArmConfig::DENSE),
        })
    };
    let sum: f64 = config.levels.iter().map(of_level).sum();
    sum / config.levels.len() as f64
}

/// Pairs of a query and a sink or a token of its near field.
fn near_pairs(grid: &Grid, tokens: usize) -> f64 {
    let n = tokens as f64;
    let far = sum_over_queries(grid, tokens, |far| (far * grid.chunk_size) as f64);
    n * (n + 1.0) / 2.0 - far
}

/// The sum over queries of a function of the number of chunks far from the query.
fn sum_over_queries(grid: &Grid, tokens: usize, of: impl Fn(usize) -> f64) -> f64 {
    (0..grid.chunks(tokens))
        .map(|chunk| {
            let own = grid.chunk_size.min(tokens - grid.start_of(chunk));
            own as f64 * of(grid.far_of(chunk))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use crate::config::{
        ArmConfig, HeadLevel, KvBits, LocalConfig, MomentsConfig, PublishedConfig,
    };

    /// DESIGN's own figures: D = 64, S = 128, G = 8, 8192 tokens, per token.
    #[test]
    fn costs_are_those_of_the_design() {
        let n = 8192;
        let per_token = |arm: &ArmConfig| arm.multiply_adds(n, 64) / n as f64;
        let dense = per_token(&ArmConfig::DENSE);
        assert!((dense - 524_000.0).abs() < 1_000.0, "{dense}");
        let moments = |state| {
            per_token(&ArmConfig::Moments(MomentsConfig {
                state,
                ..MomentsConfig::summaries()
            }))
        };
        // 25k near, 33k far, and what clusters and states take to build.
        let plain = moments(false);
        assert!((55_000.0..62_000.0).contains(&plain), "{plain}");
        let state = moments(true) - plain;
        assert!((8_000.0..9_500.0).contains(&state), "{state}");
    }

    /// DESIGN's: 15.9 times fewer numbers a far chunk without the state, 3.2 times with it.
    #[test]
    fn caches_are_those_of_the_design() {
        let far = |state| {
            let arm = ArmConfig::Moments(MomentsConfig {
                state,
                ..MomentsConfig::summaries()
            });
            let grown = arm.cache_numbers(4 + 40 * 128, 64) - arm.cache_numbers(4 + 20 * 128, 64);
            20.0 * 128.0 * 2.0 * 64.0 / grown
        };
        assert!((far(false) - 15.9).abs() < 0.05, "{}", far(false));
        assert!((far(true) - 3.2).abs() < 0.05, "{}", far(true));
        assert_eq!(ArmConfig::DENSE.cache_numbers(10, 4), 80.0);
    }

    /// Of dense attention's in 32 bits.
    #[test]
    fn far_chunks_in_few_bits_are_small() {
        let share = |kv_bits| {
            let arm = ArmConfig::Moments(MomentsConfig {
                kv_bits,
                ..MomentsConfig::default()
            });
            let grown = arm.cache_numbers(4 + 40 * 128, 64) - arm.cache_numbers(4 + 20 * 128, 64);
            grown / (20.0 * 128.0 * 2.0 * 64.0)
        };
        assert!((0.29..0.30).contains(&share(KvBits::Eight)));
        assert!((0.18..0.19).contains(&share(KvBits::Four)));
    }

    #[test]
    fn heads_count_by_their_levels() {
        let arm = |levels: Vec<HeadLevel>, exact_clusters| {
            ArmConfig::Moments(MomentsConfig {
                levels,
                exact_clusters,
                ..MomentsConfig::default()
            })
        };
        use HeadLevel::{Clusters, Lookups, Near};
        let mixed = arm(vec![Near, Clusters, Lookups, Near], 8);
        let local = ArmConfig::Local(LocalConfig::default());
        let [clusters, lookups] = [0, 8].map(|t| arm(Vec::new(), t));
        for of in [
            |arm: &ArmConfig| arm.exact_pairs(3000),
            |arm: &ArmConfig| arm.multiply_adds(3000, 64),
            |arm: &ArmConfig| arm.cache_numbers(3000, 64),
        ] {
            let expected = (2.0 * of(&local) + of(&clusters) + of(&lookups)) / 4.0;
            assert!((of(&mixed) - expected).abs() < 1e-6 * expected);
        }
    }

    #[test]
    fn pairs_are_counted_one_by_one() {
        for tokens in [0, 1, 3, 7, 8, 9, 21, 40] {
            for (chunk_size, near_chunks, sink_tokens) in [(4, 1, 2), (1, 0, 0), (5, 2, 3)] {
                let local = ArmConfig::Local(LocalConfig {
                    chunk_size,
                    near_chunks,
                    sink_tokens,
                });
                let grid = local.grid();
                let pairs = (0..tokens)
                    .flat_map(|q| (0..=q).map(move |k| (q, k)))
                    .filter(|&(q, k)| grid.attends(q, k))
                    .count();
                assert_eq!(local.exact_pairs(tokens), pairs as f64);
            }
        }
        let published = ArmConfig::Published(PublishedConfig {
            chunk_size: 4,
            compression: 1,
        });
        assert_eq!(published.exact_pairs(8), 20.0);
    }
}
