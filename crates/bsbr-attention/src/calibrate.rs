//! Compression bases from data.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::attention::{AttentionInput, HeadShape};
use crate::chunked::first_chunks;
use crate::clusters::Assignment;
use crate::compression::CompressionBases;
use crate::config::{ArmConfig, compressed_rank};
use crate::eigen;
use crate::error::CalibrationError;

/// Second moments of the readers and the content of one layer's states.
///
/// U_k comes from the uncentred second moment of the queries; U_v from the
/// covariance of values within clusters (moments arm), or from their uncentred
/// second moment (published arm). Sums are kept in f64, per head.
///
/// Feed it the layer's attention inputs over some tens of thousands of tokens, then call
/// [`bases`](Self::bases).
#[derive(Debug, Clone)]
pub struct Calibration {
    config: ArmConfig,
    shape: HeadShape,
    /// Σ q qᵀ. `[H, D, D]`
    queries: Vec<f64>,
    /// Σ (v − v̄)(v − v̄)ᵀ, or Σ v vᵀ. `[H, D, D]`
    values: Vec<f64>,
    tokens: usize,
    /// The number of tokens in the sum `values`.
    summed: usize,
}

impl Calibration {
    /// For a layer with this arm; `None` if the arm compresses nothing.
    pub fn new(config: &ArmConfig, shape: HeadShape) -> Option<Self> {
        let moments = vec![0.0; shape.num_heads * shape.head_dim * shape.head_dim];
        (config.compression() > 1).then(|| Self {
            config: config.clone(),
            shape,
            queries: moments.clone(),
            values: moments,
            tokens: 0,
            summed: 0,
        })
    }

    /// Adds a batch. Padding is ignored, and so are values of incomplete chunks.
    pub fn observe(&mut self, input: &AttentionInput) {
        let [batch, _, n, _] = input.query.dims();
        let rows = |x: &Tensor<4>| x.clone().without_autodiff().cast(DType::F32);
        let (query, key, value) = (rows(&input.query), rows(&input.key), rows(&input.value));
        if input.padding.is_none() {
            self.add(query, key, value);
            return;
        }
        for row in 0..batch {
            let before = input.padding.of_row(row).min(n);
            if before < n {
                let real =
                    |x: &Tensor<4>| x.clone().narrow(0, row, 1).narrow(2, before, n - before);
                self.add(real(&query), real(&key), real(&value));
            }
        }
    }

    fn add(&mut self, query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) {
        let [batch, heads, n, d] = query.dims();
        self.tokens += batch * n;
        add_moment(&mut self.queries, query);
        let (grid, clusters) = match &self.config {
            ArmConfig::Moments(config) => (config.grid(), config.clusters),
            _ => {
                self.summed += batch * n;
                return add_moment(&mut self.values, value);
            }
        };
        let chunks = grid.whole_chunks(n);
        if chunks == 0 {
            return;
        }
        let far = chunks * grid.chunk_size;
        self.summed += batch * far;
        let [keys, values] = [key, value].map(|x| first_chunks(&grid, &x, chunks));
        let assignment = Assignment::split(&keys, clusters);
        let membership = assignment.membership(&values.device());
        let counts = membership.clone().sum_dim(4).clamp_min(1.0);
        let means = membership.clone().matmul(values.clone()) / counts;
        let left = values - membership.swap_dims(3, 4).matmul(means);
        add_moment(&mut self.values, left.reshape([batch, heads, far, d]));
    }

    /// Tokens observed.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The r main directions of queries and of centred values, per head.
    ///
    /// # Errors
    ///
    /// [`CalibrationError`] if no tokens, no whole chunk, or a value that is NaN or
    /// infinite was observed.
    pub fn bases(&self, device: &Device) -> Result<CompressionBases, CalibrationError> {
        if self.summed == 0 {
            return Err(match &self.config {
                ArmConfig::Moments(config) if self.tokens > 0 => CalibrationError::NoWholeChunk {
                    chunk_size: config.chunk_size,
                    needed: config.grid().start_of(1),
                },
                _ => CalibrationError::NoTokens,
            });
        }
        let rank = compressed_rank(self.shape.head_dim, self.config.compression());
        Ok(CompressionBases::new(
            self.main_directions("queries", &self.queries, rank, device)?,
            self.main_directions("values", &self.values, rank, device)?,
        ))
    }

    /// `[H, D, r]`
    fn main_directions(
        &self,
        what: &'static str,
        moments: &[f64],
        rank: usize,
        device: &Device,
    ) -> Result<Tensor<3>, CalibrationError> {
        let (heads, d) = (self.shape.num_heads, self.shape.head_dim);
        let mut data = vec![0.0f32; heads * d * rank];
        for (head, moment) in moments.chunks(d * d).enumerate() {
            if moment.iter().any(|x| !x.is_finite()) {
                return Err(CalibrationError::NotFinite { what, head });
            }
            for (r, (_, vector)) in eigen::symmetric(moment, d).iter().take(rank).enumerate() {
                for (i, x) in vector.iter().enumerate() {
                    data[(head * d + i) * rank + r] = *x as f32;
                }
            }
        }
        Ok(Tensor::from_data(
            TensorData::new(data, [heads, d, rank]),
            device,
        ))
    }
}

/// Adds Σ x xᵀ over sequences and tokens. x: `[B, H, n, D]`
fn add_moment(sums: &mut [f64], x: Tensor<4>) {
    let batch = x.dims()[0];
    let products = x.clone().swap_dims(2, 3).matmul(x).into_data();
    let per_sequence = sums.len();
    for (i, product) in products
        .iter::<f64>()
        .enumerate()
        .take(batch * per_sequence)
    {
        sums[i % per_sequence] += product;
    }
}
