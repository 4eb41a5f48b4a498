//! Which cluster each token of a far chunk belongs to.
//!
//! A chunk's tokens are halved log₂G times, see [`split_into_clusters`]. The
//! splits form a binary tree: the children of group g are groups 2g and 2g + 1 of
//! the next level.
//!
//! Assignments carry no gradient, so they are computed on host slices. Every chunk
//! uses the same operations in the same order, whatever the batch, so streamed and
//! parallel assignments are equal bit for bit.

use bsbr_kernels::split_into_clusters;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Which cluster each token of each chunk belongs to.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Cluster per token, row-major over `[B, H, C, S]`; below G.
    ids: Vec<u32>,
    /// `[B, H, C, S]`
    dims: [usize; 4],
    /// G
    clusters: usize,
}

impl Assignment {
    /// Splits every chunk of `keys` into `clusters`, a power of two.
    ///
    /// # Shapes
    ///
    /// - keys: `[B, H, C, S, D]`
    pub fn split(keys: &Tensor<5>, clusters: usize) -> Self {
        let [b, h, c, s, d] = keys.dims();
        let mut ids = vec![0; b * h * c * s];
        if clusters > 1 && !ids.is_empty() && d > 0 {
            let data = keys.clone().without_autodiff().cast(DType::F32).into_data();
            if let Ok(keys) = data.as_slice::<f32>() {
                ids = split_into_clusters(keys, [s, d], clusters);
            }
        }
        Self {
            ids,
            dims: [b, h, c, s],
            clusters,
        }
    }

    /// Cluster of every token, row-major over `[B, H, C, S]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// `[B, H, C, S]`
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// m: the number of tokens of each cluster, row-major over `[B, H, C, G]`.
    pub fn counts(&self) -> Vec<f32> {
        let [b, h, c, s] = self.dims;
        let mut counts = vec![0.0; b * h * c * self.clusters];
        for (ids, counts) in self
            .ids
            .chunks(s.max(1))
            .zip(counts.chunks_mut(self.clusters))
        {
            for &id in ids {
                counts[id as usize] += 1.0;
            }
        }
        counts
    }

    /// 1 where a token belongs to a cluster, else 0.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, C, G, S]`
    pub fn membership(&self, device: &Device) -> Tensor<5> {
        let [b, h, c, s] = self.dims;
        let g = self.clusters;
        let mut membership = vec![0.0f32; b * h * c * g * s];
        for (ids, rows) in self.ids.chunks(s.max(1)).zip(membership.chunks_mut(g * s)) {
            for (token, &id) in ids.iter().enumerate() {
                rows[id as usize * s + token] = 1.0;
            }
        }
        Tensor::from_data(TensorData::new(membership, [b, h, c, g, s]), device)
    }
}
