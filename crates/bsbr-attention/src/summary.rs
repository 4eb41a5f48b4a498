//! Summaries of far chunks: counts, means and the centred state of clusters.

use bsbr_kernels::{KvBits, round_to_bits};
use burn::tensor::{DType, Tensor, TensorData};

use crate::cache::bytes_of;
use crate::clusters::Assignment;
use crate::compression::{CompressionBases, outer_sums};

/// Summaries of chunks, per head, in f32.
///
/// | field | meaning |
/// |---|---|
/// | `counts` | m_g, tokens of cluster g |
/// | `keys`, `values` | k̄_g and v̄_g, mean key and value of cluster g; zero if it is empty |
/// | `state` | F = (1/S) Σ_g Σ_{j∈g} (k_j − k̄_g)(v_j − v̄_g)ᵀ, or U_kᵀ F U_v with compression |
///
/// The assignment carries no gradient; means and state do.
#[derive(Debug, Clone)]
pub struct Summary {
    /// `[B, H, C, G]`
    pub counts: Tensor<4>,
    /// `[B, H, C, G, D]`
    pub keys: Tensor<5>,
    /// `[B, H, C, G, D]`
    pub values: Tensor<5>,
    /// `[B, H, C, D, D]`, or `[B, H, C, r, r]` in compression bases
    pub state: Option<Tensor<5>>,
}

/// Whether to build F, and in which bases.
#[derive(Debug, Clone, Copy)]
pub enum StateForm<'a> {
    /// No state.
    Off,
    /// F.
    Whole,
    /// U_kᵀ F U_v.
    Compressed(&'a CompressionBases),
}

impl Summary {
    /// Summaries of whole chunks, with clusters given by `assignment`.
    ///
    /// # Shapes
    ///
    /// - keys, values: `[B, H, C, S, D]`
    pub fn build(
        keys: Tensor<5>,
        values: Tensor<5>,
        assignment: &Assignment,
        state: StateForm<'_>,
    ) -> Self {
        let (keys, values) = (keys.cast(DType::F32), values.cast(DType::F32));
        let device = keys.device();
        let [b, h, c, s, _] = keys.dims();
        let counts = assignment.counts();
        let g = counts.len() / (b * h * c).max(1);
        let shares: Vec<f32> = counts.iter().map(|m| 1.0 / m.max(1.0)).collect();
        let shares = Tensor::from_data(TensorData::new(shares, [b, h, c, g, 1]), &device);
        let membership = assignment.membership(&device);

        let mean_keys = membership.clone().matmul(keys.clone()) * shares.clone();
        let mean_values = membership.clone().matmul(values.clone()) * shares;
        let state = match state {
            StateForm::Off => None,
            StateForm::Whole | StateForm::Compressed(_) => {
                // The values need no centring: it would subtract Σ_{j∈g} (k_j − k̄_g) v̄_gᵀ = 0.
                let centred = keys - membership.swap_dims(3, 4).matmul(mean_keys.clone());
                let (left, right) = match state {
                    StateForm::Compressed(bases) => {
                        (bases.project_keys(centred), bases.project_values(values))
                    }
                    _ => (centred, values),
                };
                Some(outer_sums(left, right) / s as f64)
            }
        };
        Self {
            counts: Tensor::from_data(TensorData::new(counts, [b, h, c, g]), &device),
            keys: mean_keys,
            values: mean_values,
            state,
        }
    }

    /// With the means of clusters rounded to fewer bits.
    pub fn kept_in(self, bits: KvBits) -> Self {
        Self {
            keys: round_to_bits(self.keys, bits),
            values: round_to_bits(self.values, bits),
            ..self
        }
    }

    /// C, the number of summarised chunks.
    pub fn chunks(&self) -> usize {
        self.counts.dims()[2]
    }

    /// G, clusters per chunk.
    pub fn clusters(&self) -> usize {
        self.counts.dims()[3]
    }

    /// h_b: mean key of each chunk.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, C, D]`
    pub fn mean_key(&self) -> Tensor<4> {
        let total = self.counts.clone().sum_dim(3).unsqueeze_dim::<5>(4);
        let counts = self.counts.clone().unsqueeze_dim::<5>(4);
        ((self.keys.clone() * counts).sum_dim(3) / total).squeeze_dim(3)
    }

    /// ln m_g, or [`HIDDEN`](crate::masks::HIDDEN) for empty clusters, which hides them.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, C, G]`
    pub(crate) fn log_counts(&self) -> Tensor<4> {
        let empty = self.counts.clone().equal_elem(0.0);
        self.counts
            .clone()
            .clamp_min(1.0)
            .log()
            .mask_fill(empty, crate::masks::HIDDEN)
    }

    /// Appends the summaries of `later` chunks.
    pub fn append(self, later: Self) -> Self {
        Self {
            counts: Tensor::cat(vec![self.counts, later.counts], 2),
            keys: Tensor::cat(vec![self.keys, later.keys], 2),
            values: Tensor::cat(vec![self.values, later.values], 2),
            state: self
                .state
                .zip(later.state)
                .map(|(ours, theirs)| Tensor::cat(vec![ours, theirs], 2)),
        }
    }

    /// Coarser summaries of the same chunks: siblings of the binary tree, clusters 2g and 2g +
    /// 1, become one cluster, equal to one built from their tokens.
    ///
    /// m = m₁ + m₂, k̄ = (m₁k̄₁ + m₂k̄₂)/m, v̄ likewise, and F gains (1/S) (m₁m₂/m) (k̄₁ −
    /// k̄₂)(v̄₁ − v̄₂)ᵀ for each pair. `bases` are those of the state, if any. A summary of one
    /// cluster stays unchanged.
    pub fn merge_siblings(self, bases: Option<&CompressionBases>) -> Self {
        let [b, h, c, g, d] = self.keys.dims();
        if g < 2 {
            return self;
        }
        let pairs = |x: Tensor<5>| -> (Tensor<5>, Tensor<5>) {
            let last = x.dims()[4];
            let x: Tensor<6> = x.reshape([b, h, c, g / 2, 2, last]);
            (
                x.clone().narrow(4, 0, 1).squeeze_dim(4),
                x.narrow(4, 1, 1).squeeze_dim(4),
            )
        };
        let size = self.counts.clone().sum_dim(3).unsqueeze_dim::<5>(4);
        let (m1, m2) = pairs(self.counts.unsqueeze_dim(4));
        let (k1, k2) = pairs(self.keys);
        let (v1, v2) = pairs(self.values);
        let m = m1.clone() + m2.clone();
        let whole = m.clone().clamp_min(1.0);
        let mean = |x1: &Tensor<5>, x2: &Tensor<5>| {
            (x1.clone() * m1.clone() + x2.clone() * m2.clone()) / whole.clone()
        };
        let (keys, values) = (mean(&k1, &k2), mean(&v1, &v2));
        let state = self.state.map(|state| {
            let weight = m1.clone() * m2.clone() / whole.clone() / size;
            let (mut left, mut right) = ((k1 - k2) * weight, v1 - v2);
            if let Some(bases) = bases {
                left = bases.project_keys(left);
                right = bases.project_values(right);
            }
            state + left.swap_dims(3, 4).matmul(right)
        });
        debug_assert_eq!(keys.dims(), [b, h, c, g / 2, d]);
        Self {
            counts: m.squeeze_dim(4),
            keys,
            values,
            state,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.counts)
            + bytes_of(&self.keys)
            + bytes_of(&self.values)
            + self.state.as_ref().map_or(0, bytes_of)
    }
}
