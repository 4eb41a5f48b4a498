//! Exact attention to the tokens of each query's best clusters.

use bsbr_kernels::round_to_bits;
use burn::tensor::{DType, Tensor};

use crate::cache::bytes_of;
use crate::clusters::Assignment;
use crate::config::MomentsConfig;
use crate::masks::{HIDDEN, VISIBLE};

/// Tokens of far chunks, for lookups.
#[derive(Debug, Clone)]
pub(crate) struct FarTokens {
    /// `[B, H, F, S, D]`
    pub keys: Tensor<5>,
    /// `[B, H, F, S, D]`
    pub values: Tensor<5>,
    /// 1 where a token belongs to a cluster. `[B, H, F, G, S]`
    pub membership: Tensor<5>,
    /// How many clusters a query looks up, and in which heads.
    config: MomentsConfig,
}

/// The looked-up tokens of each query, as one key.
///
/// The logarithm of their mass would be rounded as coarsely as their scores, so the highest
/// score and the mass relative to it are separate.
#[derive(Debug, Clone)]
pub(crate) struct TokenSum {
    /// m: the highest σ q·k. `[B, H, c, n, 1]`
    pub highest: Tensor<5>,
    /// Σ exp(σ q·k − m). `[B, H, c, n, 1]`
    pub mass: Tensor<5>,
    /// Their softmax-weighted mean value. `[B, H, c, n, D]`
    pub mean_value: Tensor<5>,
}

impl FarTokens {
    /// The tokens of whole chunks, as they are stored.
    ///
    /// # Shapes
    ///
    /// - keys, values: `[B, H, F, S, D]`
    pub fn new(
        config: &MomentsConfig,
        assignment: &Assignment,
        keys: Tensor<5>,
        values: Tensor<5>,
    ) -> Self {
        Self {
            membership: assignment.membership(&keys.device()),
            keys: round_to_bits(keys, config.kv_bits),
            values: round_to_bits(values, config.kv_bits),
            config: config.clone(),
        }
    }

    /// Only the first `far` chunks.
    pub fn first(&self, far: usize) -> Self {
        Self {
            keys: self.keys.clone().narrow(2, 0, far),
            values: self.values.clone().narrow(2, 0, far),
            membership: self.membership.clone().narrow(2, 0, far),
            config: self.config.clone(),
        }
    }

    /// The tokens of `later` chunks after these.
    pub fn append(self, later: Self) -> Self {
        let joined = |a: Tensor<5>, b: Tensor<5>| Tensor::cat(vec![a, b], 2);
        Self {
            keys: joined(self.keys, later.keys),
            values: joined(self.values, later.values),
            membership: joined(self.membership, later.membership),
            config: self.config,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let all = [&self.keys, &self.values, &self.membership];
        all.map(bytes_of).iter().sum()
    }

    /// Removes each query's t best clusters from `logits` and attends to their tokens.
    ///
    /// Scores all far tokens and hides those of other clusters. This plain form is
    /// differentiable and costs as much as dense attention.
    ///
    /// # Shapes
    ///
    /// - logits: `[B, H, c, n, sinks + F·G]`
    /// - query: `[B, H, c, n, D]`, scaled
    pub fn replace_best(
        &self,
        logits: Tensor<5>,
        sinks: usize,
        query: Tensor<5>,
    ) -> (Tensor<5>, TokenSum) {
        let dtype = logits.dtype();
        let [b, h, c, n, width] = logits.dims();
        let [_, _, f, g, _] = self.membership.dims();
        let d = query.dims()[4];
        let of_clusters = logits.clone().narrow(4, sinks, width - sinks);
        let best = best_of(of_clusters.cast(DType::F32), self.config.exact_clusters);
        let chosen = self.config.only_looked_up(best);

        // Tokens are hidden by one additional dimension per cluster: a query has HIDDEN for
        // clusters that it has not chosen, and a token has 1 for its own.
        let shunned = ((chosen.clone() - 1.0) * -HIDDEN)
            .reshape([b, h, c * n, f, g])
            .swap_dims(2, 3);
        let rows = query.cast(DType::F32).reshape([b, h, 1, c * n, d]);
        let rows = Tensor::cat(vec![rows.expand([b, h, f, c * n, d]), shunned], 4);
        let keys = vec![
            self.keys.clone().cast(DType::F32),
            self.membership.clone().swap_dims(3, 4),
        ];
        let scores = rows.matmul(Tensor::cat(keys, 4).swap_dims(3, 4));

        let highest = scores.clone().detach().max_dim(4).max_dim(2);
        let masses = (scores - highest.clone()).exp();
        let mass = masses.clone().sum_dim(4).sum_dim(2);
        let values = masses
            .matmul(self.values.clone().cast(DType::F32))
            .sum_dim(2);
        let per_query = |x: Tensor<5>| x.reshape([b, h, c, n, 1]).cast(dtype);
        let tokens = TokenSum {
            highest: per_query(highest),
            mass: per_query(mass.clone()),
            mean_value: (values / mass).reshape([b, h, c, n, d]).cast(dtype),
        };

        let gone = chosen.greater_elem(0.5);
        let left = logits
            .clone()
            .narrow(4, sinks, width - sinks)
            .mask_fill(gone, HIDDEN);
        let logits = if sinks == 0 {
            left
        } else {
            Tensor::cat(vec![logits.narrow(4, 0, sinks), left], 4)
        };
        (logits, tokens)
    }
}

/// 1 for the `best` highest visible logits of each row, else 0; ties go to the first.
pub(crate) fn best_of(logits: Tensor<5>, best: usize) -> Tensor<5> {
    // F16 cannot represent HIDDEN, so hidden logits are −∞. They must not be below the marker
    // of chosen clusters, or one would be chosen twice.
    let logits = logits.detach().cast(DType::F32).clamp_min(HIDDEN);
    let [.., clusters] = logits.dims();
    let visible = logits.clone().greater_elem(VISIBLE).float();
    if best >= clusters {
        return visible.cast(DType::F32);
    }
    let device = logits.device();
    let columns = Tensor::<1, burn::tensor::Int>::arange(0..clusters as i64, &device).unsqueeze();
    let mut left = logits;
    let mut chosen = visible.zeros_like();
    for _ in 0..best {
        let first = left.clone().argmax(4);
        let here = columns.clone().equal(first);
        left = left.mask_fill(here.clone(), f32::MIN);
        chosen = chosen + here.float();
    }
    (chosen * visible).cast(DType::F32)
}
